//! Any bytes, cut anywhere: `cargo +nightly fuzz run websocket -- -max_total_time=60`
//!
//! Input: 2 bytes of `message_bytes_max`, 1 byte of piece size, then what the client sends.

#![no_main]

#[path = "../../src/frame.rs"]
#[allow(dead_code)]
mod frame;
#[path = "../../src/websocket.rs"]
#[allow(dead_code)]
mod websocket;

use libfuzzer_sys::fuzz_target;
use websocket::{DecodeError, Decoder, Message};

/// A control frame's payload and a header: what a decoder may hold besides the message.
const OVERHEAD_BYTES_MAX: usize = 139;

fuzz_target!(|input: &[u8]| {
    let [high, low, size, bytes @ ..] = input else {
        return;
    };
    let bytes_max = usize::from(u16::from_be_bytes([*high, *low]));
    let size = usize::from(*size) + 1;

    let cut = decode(bytes_max, bytes, size);
    let at_once = decode(bytes_max, bytes, bytes.len().max(1));
    assert_eq!(cut, at_once, "the cut changes what is read");

    only_feed(bytes_max, bytes, size);
    cut.0.iter().for_each(answer);
});

fn decode(bytes_max: usize, bytes: &[u8], size: usize) -> (Vec<Message>, Option<DecodeError>) {
    let mut decoder = Decoder::new(bytes_max);
    let mut messages = Vec::new();
    for piece in bytes.chunks(size) {
        decoder.feed(piece);
        loop {
            match decoder.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    assert!([1002, 1007, 4413].contains(&error.close_code()));
                    assert_eq!(decoder.buffered(), 0, "bytes kept after an error");
                    decoder.feed(piece);
                    assert_eq!(decoder.next(), Err(error), "an error is final");
                    return (messages, Some(error));
                }
            }
        }
        assert!(decoder.buffered() <= bytes_max + OVERHEAD_BYTES_MAX);
    }
    for message in &messages {
        match message {
            Message::Text(text) => assert!(text.len() <= bytes_max),
            Message::Ping(payload) => assert!(payload.len() <= 125),
            _ => {}
        }
    }
    (messages, None)
}

fn only_feed(bytes_max: usize, bytes: &[u8], size: usize) {
    let mut decoder = Decoder::new(bytes_max);
    for piece in bytes.chunks(size) {
        decoder.feed(piece);
        assert!(decoder.buffered() <= bytes_max + OVERHEAD_BYTES_MAX + size);
    }
}

/// What was read can be written.
fn answer(message: &Message) {
    match message {
        Message::Text(text) => {
            frame::text(text, &mut Vec::new());
            assert!(frame::close(1000, text).len() <= 127);
        }
        Message::Ping(payload) => assert_eq!(frame::pong(payload)[2..], payload[..]),
        Message::Close(Some(code)) => assert_eq!(frame::close(*code, "").len(), 4),
        _ => {}
    }
}
