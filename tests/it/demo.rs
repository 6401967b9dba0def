//! The first minute of a newcomer: paste what the demo prints, see a change, leave nothing behind.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::world::{LIMIT, Settings, until};

fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

#[tokio::test]
async fn the_demo_shows_a_change_and_leaves_nothing_behind() {
    let settings = Settings::new("").unset("auth.secret").unset("database.url").unset("http.listen");
    let mut command = settings.command(&["demo", "--listen", "127.0.0.1:0"]);
    let folder = tempfile::tempdir().unwrap();
    // Servers that refuse root run as another user, who must get in.
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("TMPDIR", folder.path());
    let mut demo = command.stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let (mut page, mut tail, mut psql, mut token) = (None, None, None, None);
    while tail.is_none() || psql.is_none() || token.is_none() {
        let line = tokio::time::timeout(LIMIT, lines.next_line())
            .await
            .expect("the demo says more")
            .unwrap()
            .expect("the demo runs");
        let line = line.trim();
        if line.starts_with("http://") {
            assert!(tail.is_none() && psql.is_none(), "the page stands first");
            page = Some(line.to_owned());
        } else if line.contains(" tail --url") {
            tail = Some(line.to_owned());
        } else if line.starts_with("psql ") {
            psql = Some(line.to_owned());
        } else if line.starts_with("eyJ") {
            token = Some(line.to_owned());
        }
    }
    let (tail, psql, token) = (tail.unwrap(), psql.unwrap(), token.unwrap());

    let mut follower = shell(&format!("exec {tail}")).spawn().unwrap();
    let mut frames = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut said = BufReader::new(follower.stderr.take().unwrap()).lines();
    let first = tokio::time::timeout(LIMIT, said.next_line()).await.expect("the tail subscribes").unwrap();
    assert!(first.as_deref().is_some_and(|line| line.contains("subscribed")), "{first:?}");
    let changed = shell(&psql).output().await.unwrap();
    assert!(changed.status.success(), "{changed:?}");
    let frame = tokio::time::timeout(LIMIT, frames.next_line()).await.expect("the change shows up").unwrap().unwrap();
    let frame: Value = serde_json::from_str(&frame).unwrap();
    assert_eq!(
        (&frame["resource"], &frame["data"]["id"], &frame["project_id"]),
        (&"task".into(), &"1".into(), &"7".into())
    );

    // The page, and the token where no server sees it.
    let page = page.expect("the demo names its page");
    let alice = tail.rsplit(' ').next().unwrap();
    assert!(page.ends_with(&format!("/#token={alice}&project=7")), "{page}");
    let served = reqwest::get(&page).await.unwrap();
    assert_eq!(
        (served.status().as_u16(), &served.headers()["content-type"]),
        (200, &"text/html; charset=utf-8".parse().unwrap())
    );

    // The other member is kept out of this project.
    let stranger = shell(&tail.replace(alice, &token)).output().await.unwrap();
    assert!(String::from_utf8_lossy(&stranger.stderr).contains("not a member"), "{stranger:?}");

    // Ctrl-C.
    let pid = demo.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    let status = tokio::time::timeout(LIMIT, demo.wait()).await.expect("the demo ends").unwrap();
    assert!(status.success(), "{status}");
    until("the folder to be empty", async || std::fs::read_dir(folder.path()).unwrap().next().is_none()).await;
}
