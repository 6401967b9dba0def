//! A committed change reaches the sessions of its project, and nobody else.

use crate::world::World;

#[tokio::test]
async fn every_change_of_a_sample_table_reaches_exactly_the_members_of_its_project() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    let mut bob = world.daemon.browser("bob", "8").await;
    world.run("insert into tasks (id, project_id, title) values (10, 7, 'new')").await;
    world.run("update tasks set done = true where id = 10").await;
    world.run("delete from tasks where id = 10").await;
    alice.hears(&["task INSERT 7/10", "task UPDATE 7/10", "task DELETE 7/10"]).await;

    let sprint = "00000000-0000-4000-8000-0000000000aa";
    world.run(&format!("insert into sprints values ('{sprint}', 7, 'x')")).await;
    world.run(&format!("update sprints set name = 'y' where id = '{sprint}'")).await;
    world.run(&format!("delete from sprints where id = '{sprint}'")).await;
    for action in ["INSERT", "UPDATE", "DELETE"] {
        alice.hears(&[&format!("sprint {action} 7/{sprint}")]).await;
    }

    world.run("update projects set name = 'Site' where id = 7").await;
    world.run("insert into project_members values (7, 'carol')").await;
    world.run("update project_members set role = 'guest' where user_id = 'carol'").await;
    world.run("delete from project_members where user_id = 'carol'").await;
    alice.hears(&["project UPDATE 7/7"]).await;
    for action in ["INSERT", "UPDATE", "DELETE"] {
        alice.hears(&[&format!("project_members {action} 7/7:carol")]).await;
    }

    // Bob's first frame is of his own project: he heard nothing of all that.
    world.run("update tasks set done = true where id = 3").await;
    bob.hears(&["task UPDATE 8/3"]).await;
    world.run("update tasks set done = true where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;
}
