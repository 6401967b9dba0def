//! What must hold, and does not yet. Not in main.rs: a test goes to its own file when the product is mended.

use crate::witness::told;

/// PostgreSQL puts a row that MERGE moves into the transition tables of INSERT and DELETE, and fires the UPDATE trigger.
#[tokio::test]
async fn merge_that_moves_a_row_to_another_partition_since_15() {
    told(
        "create table days (id int, project_id int, day int, primary key (id, day)) partition by list (day);
         create table day1 partition of days for values in (1); create table day2 partition of days default;
         insert into days values (1, 7, 1), (2, 7, 1), (3, 7, 1);
         select pgherald.watch('days'$mode)",
        &[
            // nothing is told at all
            (
                "merge into days d using (values (1)) v(id) on d.id = v.id when matched then update set day = 2, project_id = 8",
                "days UPDATE 7/1:1 8/1:2 | days DELETE 7/1:1, days INSERT 8/1:2",
            ),
            // the row that went, and its project, are not told
            (
                "merge into days d using (values (2), (4)) v(id) on d.id = v.id
                  when matched then update set day = 2, project_id = 8 when not matched then insert values (v.id, 9, 1)",
                "days UPDATE 7/2:1 8/2:2, days INSERT 9/4:1 | days DELETE 7/2:1, days INSERT 8/2:2 9/4:1",
            ),
        ],
    )
    .await;
}
