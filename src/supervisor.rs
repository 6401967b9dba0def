//! The shell process that owns a throwaway server, and outlives us just long enough to remove it.
//!
//! It makes the folder, runs the server and removes both. Its standard input is a pipe that only we
//! hold: however this process ends, `kill -9` included, the pipe closes and it cleans up. It lives
//! in a process group of its own, so that a Ctrl-C in the terminal reaches us alone and the server
//! is there until we have drained.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::pgprograms::User;

/// The longest wait for one step; `initdb` on a slow, busy disk is the longest of them.
const STEP_MAX: Duration = Duration::from_secs(120);

/// Dropping it ends the server and removes the folder, soon after.
#[derive(Debug)]
pub struct Supervisor {
    child: Child,
    commands: ChildStdin,
    commands_sent: u64,
    replies: Lines<BufReader<ChildStdout>>,
    folder: PathBuf,
}

impl Supervisor {
    /// A supervisor with an empty folder of its own under `parent`, running the programs in `bin`
    /// as `user`.
    ///
    /// # Errors
    /// `/bin/sh` does not start, or the folder cannot be made.
    pub async fn start(bin: &Path, parent: &Path, user: Option<User>) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "pgherald-scratch"]).arg(bin).arg(parent);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.current_dir("/").process_group(0).env("LC_ALL", "C");
        for name in ["PGDATA", "PGHOST", "PGPORT", "PGUSER", "PGOPTIONS", "PGSERVICE"] {
            command.env_remove(name);
        }
        if let Some(User { uid, gid }) = user {
            command.uid(uid).gid(gid);
        }
        let mut child = command.spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (commands, stdout) = stdin.zip(stdout).ok_or(io::ErrorKind::BrokenPipe)?;
        let mut replies = BufReader::new(stdout).lines();
        let folder = in_time(replies.next_line()).await?;
        let failed = || io::Error::other(format!("mktemp in {} failed", parent.display()));
        let folder = PathBuf::from(folder.ok_or_else(failed)?);
        Ok(Self { child, commands, commands_sent: 0, replies, folder })
    }

    /// The folder, which belongs to the server's user.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Has a step done, `initdb`, `start` or `stop`, and says whether it succeeded. What it printed
    /// is in the file `log` of the folder.
    ///
    /// # Errors
    /// The supervisor is gone, or did not answer within two minutes.
    pub async fn step(&mut self, verb: &str, port: u16) -> io::Result<bool> {
        // Numbered, so that a step whose future was dropped does not answer for the next one.
        self.commands_sent += 1;
        let number = self.commands_sent.to_string();
        let exchange = async {
            self.commands.write_all(format!("{number} {verb} {port}\n").as_bytes()).await?;
            loop {
                let reply = self.replies.next_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
                if let Some((answered, status)) = reply.split_once(' ')
                    && answered == number
                {
                    return Ok(status == "0");
                }
            }
        };
        in_time(exchange).await
    }

    /// Ends the server at once and waits until its folder is gone.
    ///
    /// # Errors
    /// It is still there after two minutes.
    pub async fn end(self) -> io::Result<()> {
        let Self { mut child, commands, folder, .. } = self;
        drop(commands);
        in_time(child.wait()).await?;
        let left = io::Error::other(format!("{} is still there", folder.display()));
        if folder.exists() { Err(left) } else { Ok(()) }
    }
}

async fn in_time<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = io::Error::new(io::ErrorKind::TimedOut, "no answer in two minutes");
    timeout(STEP_MAX, step).await.unwrap_or(Err(late))
}

/// `$1` the programs, `$2` where to make the folder. Says the folder, then answers each line
/// "number verb port" with "number status"; at the end of its input everything goes.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM PIPE
umask 077
bin=$1
folder=$(mktemp -d "$2/pgherald-XXXXXX") || exit 1
data=$folder/data
echo "$folder"
while read -r number verb port; do
    case $verb in
        initdb) "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --no-locale --no-sync --wal-segsize=1 ;;
        start) "$bin/pg_ctl" start -w -t 60 -s -D "$data" -l "$folder/log" -o "-p $port" ;;
        stop) "$bin/pg_ctl" stop -w -t 60 -s -m fast -D "$data" ;;
    esac </dev/null >>"$folder/log" 2>&1
    echo "$number $?"
done
if [ -e "$data/postmaster.pid" ]; then
    "$bin/pg_ctl" stop -w -t 20 -s -m immediate -D "$data" ||
        kill -KILL "$(head -n 1 "$data/postmaster.pid")"
fi </dev/null >/dev/null 2>&1
rm -rf "$folder" 2>/dev/null || { sleep 1; rm -rf "$folder"; }
"#;
