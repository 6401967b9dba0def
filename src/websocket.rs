//! The server's side of RFC 6455: a socket's bytes to messages.
//!
//! No IO and no clock: the session reads, feeds, and writes what it gets from here. It is our own
//! because a frame made once is shared by all sessions, and because a decoder that waits must cost
//! a connection nothing: it holds no buffer while nothing is pending.

use std::mem;

use bytes::{Buf, BytesMut};
use thiserror::Error;

use crate::frame::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Opcode, close_code_may_be_sent};

/// Fragments of one message. More of them carry nothing that one frame could not, and cost a core.
const FRAGMENTS_MAX: u16 = 1024;

/// What a client said, its fragments joined and unmasked (RFC 6455 5.6 and 5.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A whole text message, valid UTF-8.
    Text(String),
    /// A whole binary message. Counted and dropped: our protocol has none.
    Binary,
    /// Wants a pong with the same payload, 125 bytes at most.
    Ping(Vec<u8>),
    /// Answers a ping, or is a heartbeat nobody asked for (RFC 6455 5.5.3).
    Pong,
    /// The last message: the client's close code, if it gave one.
    Close(Option<u16>),
}

/// Why a client's bytes are refused. The connection is then closed with [`Self::close_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum DecodeError {
    #[error("reserved bits are set: no extension was negotiated")]
    ReservedBits,
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    #[error("frame is not masked: a client must mask every frame")]
    Unmasked,
    #[error("control frame is fragmented")]
    ControlFragmented,
    #[error("control frame is longer than 125 bytes")]
    ControlTooLong,
    #[error("frame length is not in its shortest encoding")]
    LengthNotMinimal,
    #[error("frame length has its highest bit set")]
    LengthHighestBit,
    #[error("continuation frame without a message to continue")]
    NothingToContinue,
    #[error("new message before the last one's final fragment")]
    MessageUnfinished,
    #[error("close frame of one byte: its code takes two")]
    CloseCodeCut,
    #[error("close code {0} must not be sent")]
    CloseCodeReserved(u16),
    #[error("text is not valid UTF-8")]
    NotUtf8,
    #[error("message is too large: {message_bytes_max} bytes at most")]
    TooLarge { message_bytes_max: usize },
}

impl DecodeError {
    /// The close code to answer with: 1002 and 1007 (RFC 6455 7.4.1), or our own 4413 for a
    /// message beyond the limit, which tells the client not to come back with it.
    pub fn close_code(&self) -> u16 {
        match self {
            Self::NotUtf8 => 1007,
            Self::TooLarge { .. } => 4413,
            _ => 1002,
        }
    }
}

/// Turns the bytes of one client into messages.
///
/// [`feed`](Self::feed) what was read, then call [`next`](Self::next) until it gives `None`.
#[derive(Debug)]
pub struct Decoder {
    message_bytes_max: usize,
    state: State,
    /// Fed and not yet parsed: a part of a header at most, once `next` gave `None`.
    input: BytesMut,
    /// The data message in the making; control frames may come between its fragments.
    message: Partial,
    /// Fragments of the message in the making so far.
    fragments: u16,
    /// The payload of the control frame in the making.
    control: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Payload(Frame),
    Closed,
    Failed(DecodeError),
}

/// A frame whose header is read, and what is still to come of it.
#[derive(Clone, Copy, Debug)]
struct Frame {
    fin: bool,
    opcode: Opcode,
    mask: [u8; 4],
    bytes_left: usize,
}

/// A binary message is only counted, in bytes.
#[derive(Debug, Default)]
enum Partial {
    #[default]
    None,
    Text(Vec<u8>),
    Binary(usize),
}

impl Decoder {
    /// A decoder at the start of a stream. `message_bytes_max` bounds a message, in bytes of
    /// payload over all its fragments; control frames have RFC 6455's own 125 bytes.
    pub fn new(message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max,
            state: State::Header,
            input: BytesMut::new(),
            message: Partial::None,
            fragments: 0,
            control: Vec::new(),
        }
    }

    /// Takes bytes as they came from the socket, cut anywhere. Ignored after a close or an error.
    ///
    /// Any number of bytes is fine while `next` is called until `None` in between. A caller that
    /// only feeds gets [`DecodeError::TooLarge`] instead of a buffer that grows.
    pub fn feed(&mut self, bytes: &[u8]) {
        if matches!(self.state, State::Closed | State::Failed(_)) {
            return;
        }
        let overhead_bytes_max = CONTROL_BYTES_MAX + HEADER_BYTES_MAX;
        if self.buffered() > self.message_bytes_max.saturating_add(overhead_bytes_max) {
            return self.end(State::Failed(self.too_large()));
        }
        self.input.extend_from_slice(bytes);
    }

    /// The next message, or `None`: more bytes are needed, or the client has said goodbye.
    ///
    /// An error is final, every later call gives it again.
    #[expect(clippy::should_implement_trait, reason = "`None` is not the end")]
    pub fn next(&mut self) -> Result<Option<Message>, DecodeError> {
        let next = self.read();
        match next {
            // A copy of less than a header, or of nothing, lets go of the large buffer.
            Ok(None) => self.input = BytesMut::from(&self.input[..]),
            Ok(Some(Message::Close(_))) => self.end(State::Closed),
            Ok(Some(_)) => {}
            Err(error) => self.end(State::Failed(error)),
        }
        next
    }

    /// Bytes held for a message that is not complete. Once `next` gave `None`: at most
    /// `message_bytes_max` and 139 (a control frame between fragments, a header).
    pub fn buffered(&self) -> usize {
        let text = match &self.message {
            Partial::Text(payload) => payload.len(),
            Partial::None | Partial::Binary(_) => 0,
        };
        self.input.len() + text + self.control.len()
    }

    fn too_large(&self) -> DecodeError {
        DecodeError::TooLarge { message_bytes_max: self.message_bytes_max }
    }

    fn end(&mut self, state: State) {
        *self = Self::new(self.message_bytes_max);
        self.state = state;
    }

    fn read(&mut self) -> Result<Option<Message>, DecodeError> {
        loop {
            let frame = match self.state {
                State::Header => match self.read_header()? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
                State::Payload(frame) => frame,
                State::Closed => return Ok(None),
                State::Failed(error) => return Err(error),
            };
            if !self.read_payload(frame) {
                return Ok(None);
            }
            if let Some(message) = self.finish(frame)? {
                return Ok(Some(message));
            }
        }
    }

    /// RFC 6455 5.2. Each rule is checked as soon as its bytes are there, the limits before the
    /// first byte of payload is kept.
    fn read_header(&mut self) -> Result<Option<Frame>, DecodeError> {
        let &[first, second, ref rest @ ..] = &self.input[..] else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(DecodeError::ReservedBits);
        }
        let fin = first & 0x80 != 0;
        let opcode = Opcode::parse(first & 0x0f).ok_or(DecodeError::ReservedOpcode(first & 0x0f))?;
        if second & 0x80 == 0 {
            return Err(DecodeError::Unmasked);
        }
        let length = second & 0x7f;
        match (opcode, &self.message) {
            (Opcode::Continuation, Partial::None) => return Err(DecodeError::NothingToContinue),
            (Opcode::Continuation, _) | (Opcode::Text | Opcode::Binary, Partial::None) => {}
            (Opcode::Text | Opcode::Binary, _) => return Err(DecodeError::MessageUnfinished),
            _ if !fin => return Err(DecodeError::ControlFragmented),
            _ if length > 125 => return Err(DecodeError::ControlTooLong),
            _ => {}
        }

        let (bytes, bytes_min, rest) = match length {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), 126, rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), 1 << 16, rest),
                None => return Ok(None),
            },
            _ => (u64::from(length), 0, rest),
        };
        if bytes >> 63 != 0 {
            return Err(DecodeError::LengthHighestBit);
        }
        if bytes < bytes_min {
            return Err(DecodeError::LengthNotMinimal);
        }
        let bytes_left = match usize::try_from(bytes) {
            Ok(bytes) if opcode.is_control() || bytes <= self.room() => bytes,
            _ => return Err(self.too_large()),
        };
        let Some((&mask, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };

        let header_bytes = self.input.len() - rest.len();
        self.input.advance(header_bytes);
        match opcode {
            Opcode::Text => (self.message, self.fragments) = (Partial::Text(Vec::new()), 0),
            Opcode::Binary => (self.message, self.fragments) = (Partial::Binary(0), 0),
            Opcode::Continuation => self.fragments += 1,
            _ => {}
        }
        if self.fragments >= FRAGMENTS_MAX {
            return Err(self.too_large());
        }
        Ok(Some(Frame { fin, opcode, mask, bytes_left }))
    }

    /// Bytes that the message in the making may still take.
    fn room(&self) -> usize {
        self.message_bytes_max
            - match &self.message {
                Partial::None => 0,
                Partial::Text(payload) => payload.len(),
                Partial::Binary(bytes) => *bytes,
            }
    }

    /// Moves what is there of the payload to its message; true once that was all of it.
    fn read_payload(&mut self, mut frame: Frame) -> bool {
        let bytes_here = frame.bytes_left.min(self.input.len());
        let masked = &self.input[..bytes_here];
        match &mut self.message {
            _ if frame.opcode.is_control() => unmask(masked, frame.mask, &mut self.control),
            Partial::Text(payload) => unmask(masked, frame.mask, payload),
            Partial::Binary(bytes) => *bytes += bytes_here,
            Partial::None => {}
        }
        self.input.advance(bytes_here);
        frame.mask.rotate_left(bytes_here % 4);
        frame.bytes_left -= bytes_here;
        self.state = match frame.bytes_left {
            0 => State::Header,
            _ => State::Payload(frame),
        };
        frame.bytes_left == 0
    }

    fn finish(&mut self, frame: Frame) -> Result<Option<Message>, DecodeError> {
        let message = match frame.opcode {
            Opcode::Ping => Message::Ping(mem::take(&mut self.control)),
            Opcode::Pong => {
                self.control = Vec::new();
                Message::Pong
            }
            Opcode::Close => Message::Close(parse_close(&self.control)?),
            _ if !frame.fin => return Ok(None),
            _ => match mem::take(&mut self.message) {
                Partial::Text(payload) => Message::Text(String::from_utf8(payload).map_err(|_| DecodeError::NotUtf8)?),
                Partial::Binary(_) => Message::Binary,
                Partial::None => return Err(DecodeError::NothingToContinue),
            },
        };
        Ok(Some(message))
    }
}

/// RFC 6455 5.3; `mask` begins at the first byte of `masked`. Four bytes at a time, which the
/// compiler widens to its vectors.
fn unmask(masked: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(masked);
    let (words, tail) = out[start..].as_chunks_mut();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// RFC 6455 5.5.1 and 7.4.
fn parse_close(payload: &[u8]) -> Result<Option<u16>, DecodeError> {
    match *payload {
        [] => Ok(None),
        [_] => Err(DecodeError::CloseCodeCut),
        [high, low, ref reason @ ..] => {
            let code = u16::from_be_bytes([high, low]);
            if !close_code_may_be_sent(code) {
                return Err(DecodeError::CloseCodeReserved(code));
            }
            str::from_utf8(reason).map_err(|_| DecodeError::NotUtf8)?;
            Ok(Some(code))
        }
    }
}
