//! Frames as the server writes them (RFC 6455 5.2), and what both directions know of them.

use bytes::Bytes;

/// Longest payload of a control frame (RFC 6455 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;
/// Longest header of a masked frame: 2 bytes, 8 of length, 4 of masking key (RFC 6455 5.2).
pub const HEADER_BYTES_MAX: usize = 14;

/// RFC 6455 5.2, 11.8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the RFC's own names")]
pub enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xa,
}

impl Opcode {
    /// From a header's four bits; `None` = reserved.
    pub fn parse(opcode: u8) -> Option<Self> {
        Some(match opcode {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    /// Close, ping and pong: short, and allowed between fragments.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// RFC 6455 7.4; 1012 to 1014 come from its IANA registry.
pub fn close_code_may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Appends `payload` as one unmasked, final text frame (RFC 6455 5.2): 2 to 10 bytes more.
pub fn text(payload: &str, out: &mut Vec<u8>) {
    let bytes = payload.len();
    out.reserve(bytes + HEADER_BYTES_MAX);
    out.push(0x80 | Opcode::Text as u8);
    match (u8::try_from(bytes), u16::try_from(bytes)) {
        (Ok(short @ ..=125), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(bytes as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload.as_bytes());
}

/// A close frame (RFC 6455 5.5.1). A reason over 123 bytes is cut between two characters.
///
/// `code` is one that may be sent (RFC 6455 7.4): not 1005, 1006 or 1015.
pub fn close(code: u16, reason: &str) -> Bytes {
    debug_assert!(close_code_may_be_sent(code), "close code {code}");
    let mut end = reason.len().min(CONTROL_BYTES_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    control(Opcode::Close, &[&code.to_be_bytes(), &reason.as_bytes()[..end]].concat())
}

/// A ping frame (RFC 6455 5.5.2). A payload over 125 bytes is cut.
pub fn ping(payload: &[u8]) -> Bytes {
    control(Opcode::Ping, payload)
}

/// A pong frame (RFC 6455 5.5.3), with the payload of the ping that it answers, 125 bytes at most.
pub fn pong(payload: &[u8]) -> Bytes {
    control(Opcode::Pong, payload)
}

fn control(opcode: Opcode, payload: &[u8]) -> Bytes {
    let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX)];
    let header = [0x80 | opcode as u8, payload.len() as u8];
    [&header[..], payload].concat().into()
}
