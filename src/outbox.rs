//! A mailbox and the socket behind it: the way from the hub to the wire.

use std::io::{ErrorKind, IoSlice};
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use metrics::{Counter, counter};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::alarms::Alarm;
use crate::close::Close;
use crate::encoding::Event;
use crate::event::ProjectId;
use crate::mailbox::{Coarsening, Mailbox};
use crate::metrics as m;
use crate::protocol::{Reason, Wire};

/// Pieces of one vectored write. More gain nothing: the socket's buffer is full by then.
const SLICES_MAX: usize = 64;

/// Looked up once: a look-up for each write costs a tenth of the write.
static SENT: LazyLock<Sent> =
    LazyLock::new(|| Sent { frames: counter!(m::FRAMES_SENT), bytes: counter!(m::BYTES_SENT) });

struct Sent {
    frames: Counter,
    bytes: Counter,
}

/// Shared by the hub, which puts frames in, and the session, which sends what the hub could not.
/// No call waits: frames are written at once where the socket takes them, else the session is woken.
#[derive(Debug)]
pub struct Outbox {
    socket: OnceLock<TcpStream>,
    /// Over what its frames travel.
    pub wire: Wire,
    opened_ms: u64,
    /// Rings [`Outbox::wake`] when its session's next deadline has come.
    pub alarm: Alarm,
    state: Mutex<State>,
    /// Tells the session to look at [`Outbox::needs`].
    pub wake: Notify,
}

#[derive(Debug)]
struct State {
    mailbox: Mailbox,
    /// The close frame is in: nothing may follow it (RFC 6455, section 5.5.1).
    closed: bool,
    /// Somebody else ended the session; it has still to say so.
    evicted: Option<Close>,
    flow: Flow,
    frames_sent: u64,
    bytes_sent: u64,
    /// When precision was given up last, and how much: `milliseconds * 4 + step`; 0 = never.
    coarsened: u64,
}

/// What an outbox can tell about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// When the session was let in.
    pub opened_at: SystemTime,
    /// Frames of changes that wait.
    pub waiting: usize,
    /// Answers that wait.
    pub answers: usize,
    /// The last time that its mailbox was full, and what became of it.
    pub coarsened: Option<(Coarsening, SystemTime)>,
    /// Frames that have left, whole.
    pub frames_sent: u64,
    /// Bytes that have left.
    pub bytes_sent: u64,
}

/// What the socket said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Open,
    Full { since: Instant },
    Broken,
}

/// What an outbox needs from its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// Wait until the socket is writable, then [`Outbox::resume`]; no progress since then.
    Writable(Instant),
    /// The socket is gone.
    End,
}

impl Outbox {
    /// One that keeps its frames until it has a socket.
    pub fn new(frames_max: usize, wire: Wire, alarm: Alarm) -> Self {
        let state = State {
            mailbox: Mailbox::new(frames_max, wire),
            closed: false,
            evicted: None,
            flow: Flow::Open,
            frames_sent: 0,
            bytes_sent: 0,
            coarsened: 0,
        };
        let (socket, opened_ms) = (OnceLock::new(), since_1970(SystemTime::now()));
        Self { socket, wire, opened_ms, alarm, state: Mutex::new(state), wake: Notify::new() }
    }

    /// Connects the socket, once, and sends what has gathered.
    pub fn attach(&self, socket: TcpStream) -> &TcpStream {
        let socket = self.socket.get_or_init(|| socket);
        self.flush();
        socket
    }

    /// Puts a change in without sending it; call [`Outbox::flush`] after the last. Tells whether a flush is due.
    /// `spread` is asked where it becomes a `reconnect`.
    pub fn put(&self, event: &Event, now: &str, spread: impl FnOnce() -> Duration) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        let first = state.mailbox.is_empty();
        if let Some(step) = state.mailbox.put(event, now, spread) {
            counter!(m::COARSENINGS, "step" => step.as_str(), "reason" => "mailbox_full").increment(1);
            state.coarsened = since_1970(SystemTime::now()) * 4 + step as u64;
        }
        first
    }

    /// Puts a `reconnect` in and sends.
    pub fn reconnect(&self, project: Option<&ProjectId>, reason: Reason, spread: Duration) {
        self.put_reconnect(project, reason, spread);
        self.flush();
    }

    /// Puts a `reconnect` in without sending it.
    pub fn put_reconnect(&self, project: Option<&ProjectId>, reason: Reason, spread: Duration) {
        let mut state = self.lock();
        if !state.closed {
            counter!(m::RECONNECTS, "reason" => reason.as_str()).increment(1);
            state.mailbox.reconnect(project, reason, spread);
        }
    }

    /// Puts an answer in and sends.
    pub fn answer(&self, frame: Bytes) {
        self.put_answer(frame);
        self.flush();
    }

    /// Puts an answer in without sending it.
    pub fn put_answer(&self, frame: Bytes) {
        let mut state = self.lock();
        if !state.closed {
            state.mailbox.answer(frame);
        }
    }

    /// Puts the `revoked` frame in the place of what waits of `project`, without sending it. `ends` = the session had
    /// nothing else.
    pub fn revoke(&self, project: &ProjectId, frame: Bytes, ends: bool) {
        let mut state = self.lock();
        if state.closed {
            let _ = state.mailbox.remove(Some(project));
        } else {
            state.mailbox.revoke(project, frame);
        }
        drop(state);
        if ends {
            self.evict(Close::Forbidden);
        }
    }

    /// Ends the session, which says goodbye itself.
    pub fn evict(&self, close: Close) {
        self.lock().evicted.get_or_insert(close);
        self.wake.notify_one();
    }

    /// Whether somebody ended the session.
    pub fn evicted(&self) -> Option<Close> {
        self.lock().evicted
    }

    /// Puts the close frame in, after which nothing is taken any more, and sends.
    pub fn close(&self, frame: Bytes) {
        let mut state = self.lock();
        state.mailbox.answer(frame);
        state.closed = true;
        drop(state);
        self.flush();
    }

    /// Takes out what waits of `project`.
    pub fn remove(&self, project: &ProjectId) {
        let _ = self.lock().mailbox.remove(Some(project));
    }

    /// Answers that the client has not read yet.
    pub fn answers(&self) -> usize {
        self.lock().mailbox.answers()
    }

    /// What waits, for who has no socket: at least one run of frames, else as much as fits into `bytes_max`.
    pub fn take(&self, bytes_max: usize) -> Bytes {
        let (mut state, mut out) = (self.lock(), Vec::new());
        while !state.mailbox.is_empty() {
            let mut slice = [IoSlice::new(&[])];
            state.mailbox.fill(&mut slice);
            if !out.is_empty() && out.len() + slice[0].len() > bytes_max {
                break;
            }
            out.extend_from_slice(&slice[0]);
            let written = slice[0].len();
            state.sent(written);
        }
        out.into()
    }

    /// Writes what the socket takes now. While the session waits for a full socket, this does nothing.
    pub fn flush(&self) {
        let Some(socket) = self.socket.get() else { return };
        let mut state = self.lock();
        while state.flow == Flow::Open && !state.mailbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = state.mailbox.fill(&mut slices);
            let result = socket.try_write_vectored(&slices[..filled]);
            match result {
                Ok(written) if written > 0 => state.sent(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    state.flow = Flow::Full { since: Instant::now() }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => state.flow = Flow::Broken,
            }
        }
        if state.flow != Flow::Open {
            self.wake.notify_one();
        }
    }

    /// The socket is writable again.
    pub fn resume(&self) {
        let mut state = self.lock();
        if matches!(state.flow, Flow::Full { .. }) {
            state.flow = Flow::Open;
        }
        drop(state);
        self.flush();
    }

    /// What the session must do for it.
    pub fn needs(&self) -> Need {
        match self.lock().flow {
            Flow::Open => Need::Nothing,
            Flow::Full { since } => Need::Writable(since),
            Flow::Broken => Need::End,
        }
    }

    /// Frames that have not left.
    pub fn frames(&self) -> usize {
        self.lock().mailbox.frames()
    }

    /// How it stands, for an administrator.
    pub fn figures(&self) -> Figures {
        let state = self.lock();
        let step = Coarsening::ALL.into_iter().find(|step| *step as u64 == state.coarsened % 4);
        Figures {
            opened_at: SystemTime::UNIX_EPOCH + Duration::from_millis(self.opened_ms),
            waiting: state.mailbox.frames() - state.mailbox.answers(),
            answers: state.mailbox.answers(),
            coarsened: step.map(|step| (step, SystemTime::UNIX_EPOCH + Duration::from_millis(state.coarsened / 4))),
            frames_sent: state.frames_sent,
            bytes_sent: state.bytes_sent,
        }
    }

    /// Everything is on its way.
    pub fn is_empty(&self) -> bool {
        self.lock().mailbox.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state whole: every change of it is one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts `bytes` that have left.
    fn sent(&mut self, bytes: usize) {
        let before = self.mailbox.frames();
        self.mailbox.advance(bytes);
        let frames = (before - self.mailbox.frames()) as u64;
        SENT.bytes.increment(bytes as u64);
        SENT.frames.increment(frames);
        self.bytes_sent += bytes as u64;
        self.frames_sent += frames;
    }
}

/// In milliseconds, which fit for as long as there are such clocks.
fn since_1970(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}
