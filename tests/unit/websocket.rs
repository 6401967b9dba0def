//! RFC 6455 framing: a table of hostile bytes, properties, and tungstenite as an independent peer.

use std::io::{self, Cursor, Read, Write};

use pgherald::frame;
use pgherald::upgrade::accept_key;
use pgherald::websocket::{DecodeError, Decoder, Message};
use proptest::{collection::vec, prelude::*, sample::Index};
use tokio_tungstenite::tungstenite::{
    self, WebSocket,
    protocol::{
        CloseFrame, Role,
        frame::{
            Frame,
            coding::{CloseCode, Data, OpCode},
        },
    },
};

const BYTES_MAX: usize = 1000;
/// A control frame's payload and a header: what a decoder may hold besides the message.
const OVERHEAD_BYTES_MAX: usize = 139;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const FIN: u8 = 0x80;

/// A client's frame with the shortest length encoding.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64);
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    bytes
}

/// A masked frame's header up to its masking key.
fn header(first: u8, bytes: u64) -> Vec<u8> {
    match bytes {
        0..=125 => vec![first, 0x80 | bytes as u8],
        126..=0xffff => [&[first, 0xfe][..], &(bytes as u16).to_be_bytes()].concat(),
        _ => [&[first, 0xff][..], &bytes.to_be_bytes()].concat(),
    }
}

fn drain(decoder: &mut Decoder) -> (Vec<Message>, Option<DecodeError>) {
    let mut messages = Vec::new();
    loop {
        match decoder.next() {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, None),
            Err(error) => return (messages, Some(error)),
        }
    }
}

/// Decodes `bytes` in pieces of the given sizes, over and over; the bound holds after each.
fn decode(bytes_max: usize, bytes: &[u8], sizes: &[usize]) -> (Vec<Message>, Option<DecodeError>) {
    let mut decoder = Decoder::new(bytes_max);
    let mut messages = Vec::new();
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        rest = after;
        decoder.feed(piece);
        let (more, error) = drain(&mut decoder);
        messages.extend(more);
        assert!(decoder.buffered() <= bytes_max + OVERHEAD_BYTES_MAX);
        if error.is_some() || rest.is_empty() {
            return (messages, error);
        }
    }
    unreachable!("sizes are not empty")
}

/// `bytes` must be refused with `close_code`, however they are cut, and leave nothing behind.
#[track_caller]
fn check(what: &str, bytes: &[u8], close_code: u16) {
    for sizes in [[bytes.len()], [1]] {
        let (_, error) = decode(BYTES_MAX, bytes, &sizes);
        let refused = error.map(|error| error.close_code());
        assert_eq!(refused, Some(close_code), "{what}: {error:?}");
    }
    let mut decoder = Decoder::new(BYTES_MAX);
    decoder.feed(bytes);
    let (_, error) = drain(&mut decoder);
    assert_eq!(decoder.buffered(), 0, "{what}: bytes kept after an error");
    decoder.feed(&frame(FIN | TEXT, b"a good message"));
    assert_eq!(decoder.next().err(), error, "{what}: an error is final");
    assert_eq!(decoder.buffered(), 0, "{what}: bytes taken after an error");
}

#[test]
fn hostile_bytes_are_refused_with_their_close_code() {
    let open = frame(TEXT, b"begun");
    let after = |bytes: Vec<u8>| [open.clone(), bytes].concat();
    let close = |payload: &[u8]| frame(FIN | CLOSE, payload);

    check("rsv1", &frame(FIN | 0x40 | TEXT, b"x"), 1002);
    check("rsv2", &frame(FIN | 0x20 | TEXT, b"x"), 1002);
    check("rsv3", &frame(FIN | 0x10 | TEXT, b"x"), 1002);
    check("rsv on control", &frame(FIN | 0x40 | PING, b"x"), 1002);
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        check("reserved opcode", &frame(FIN | opcode, b""), 1002);
    }
    check("plain http", b"GET / HTTP/1.1\r\n\r\n", 1002);
    check("tls hello", &[0x16, 0x03, 0x01, 0x02, 0x00], 1002);

    check("unmasked text", &[FIN | TEXT, 1, b'x'], 1002);
    check("unmasked ping", &[FIN | PING, 0], 1002);
    check("unmasked, header alone", &[FIN | TEXT, 126], 1002);

    check("ping without fin", &frame(PING, b""), 1002);
    check("close without fin", &frame(CLOSE, b""), 1002);
    check("ping of 126", &frame(FIN | PING, &[0; 126]), 1002);
    check("ping of 126, two bytes", &[FIN | PING, 0xfe], 1002);
    check("pong of 2^16, two bytes", &[FIN | PONG, 0xff], 1002);
    check("close of 126", &close(&[b'x'; 126]), 1002);

    check("continues nothing", &frame(FIN | CONTINUATION, b"x"), 1002);
    check(
        "continues a finished message",
        &[frame(TEXT, b"a"), frame(FIN | CONTINUATION, b"b"), frame(CONTINUATION, b"")].concat(),
        1002,
    );
    check("text in text", &after(frame(FIN | TEXT, b"x")), 1002);
    check("binary in text", &after(frame(BINARY, b"x")), 1002);
    check("text in binary", &[frame(BINARY, b""), frame(TEXT, b"")].concat(), 1002);

    let long = |marker: u8, length: &[u8]| [&[FIN | TEXT, 0x80 | marker][..], length].concat();
    check("125 in two bytes", &long(126, &[0, 125]), 1002);
    check("0 in two bytes", &long(126, &[0, 0]), 1002);
    check("125 in eight", &long(127, &125u64.to_be_bytes()), 1002);
    check("65535 in eight", &long(127, &0xffffu64.to_be_bytes()), 1002);
    check("top bit", &long(127, &(1u64 << 63).to_be_bytes()), 1002);
    check("all bits", &long(127, &[0xff; 8]), 1002);

    check("2^63 - 1", &header(FIN | TEXT, u64::MAX >> 1), 4413);
    check("2^32", &header(FIN | TEXT, 1 << 32), 4413);
    check("one too many", &header(FIN | TEXT, 1001), 4413);
    check("one too many, binary", &header(FIN | BINARY, 1001), 4413);
    check("fragment, over the rest", &after(header(CONTINUATION, 996)), 4413);
    check("binary fragments", &[frame(BINARY, &[0; 600]), header(CONTINUATION, 401)].concat(), 4413);
    check("ten thousand fragments", &[frame(TEXT, b""), frame(CONTINUATION, b"x").repeat(10_000)].concat(), 4413);

    let text = |payload: &[u8]| frame(FIN | TEXT, payload);
    check("lone continuation byte", &text(b"\x80"), 1007);
    check("cut character", &text(b"ab\xe2\x82"), 1007);
    check("overlong slash", &text(b"\xc0\xaf"), 1007);
    check("surrogate", &text(b"\xed\xa0\x80"), 1007);
    check("beyond unicode", &text(b"\xf4\x90\x80\x80"), 1007);
    check("cut over fragments", &[frame(TEXT, b"\xe2"), frame(FIN | CONTINUATION, b"\x82")].concat(), 1007);

    check("close of one byte", &close(b"\x03"), 1002);
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535] {
        check("close code", &close(&code.to_be_bytes()), 1002);
    }
    check("reason", &close(b"\x03\xe8\xff"), 1007);
    check("cut reason", &close(b"\x03\xe8ab\xe2\x82"), 1007);
}

#[test]
fn the_accept_key_is_the_one_of_the_rfc() {
    let accept = accept_key("dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

#[test]
fn a_key_that_is_not_sixteen_bytes_of_base64_is_refused() {
    let long = "A".repeat(1 << 20);
    for key in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ= ",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZWU=",
        "dGhlIHNhbXBsZSBub25jZWVl",
        "dGhlIHNhbXBsZSBub25jZR==",
        "dGhlIHNhbXBsZSBub25j\u{e9}Q==",
        "!!!!!!!!!!!!!!!!!!!!!!==",
        &long,
    ] {
        assert_eq!(accept_key(key), None, "{key:.40}");
    }
}

#[test]
fn the_masked_examples_of_the_rfc_are_read() {
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    let bytes = [&hello[..], pong].concat();
    let messages = vec![Message::Text("Hello".into()), Message::Pong];
    assert_eq!(decode(BYTES_MAX, &bytes, &[100]), (messages, None));
}

#[test]
fn a_message_of_exactly_the_limit_is_read() {
    let text = "x".repeat(BYTES_MAX);
    let (head, tail) = text.as_bytes().split_at(600);
    let bytes = [
        frame(FIN | TEXT, text.as_bytes()),
        frame(TEXT, head),
        frame(CONTINUATION, tail),
        frame(FIN | CONTINUATION, b""),
        frame(FIN | BINARY, &[0; BYTES_MAX]),
    ];
    let whole = Message::Text(text);
    let messages = vec![whole.clone(), whole, Message::Binary];
    assert_eq!(decode(BYTES_MAX, &bytes.concat(), &[7]), (messages, None));
}

#[test]
fn control_frames_pass_where_no_message_may() {
    let bytes = [frame(FIN | PING, &[b'p'; 125]), frame(FIN | TEXT, b"")].concat();
    let messages = vec![Message::Ping(vec![b'p'; 125]), Message::Text(String::new())];
    assert_eq!(decode(0, &bytes, &[10]), (messages, None));
}

#[test]
fn a_character_may_be_cut_between_fragments() {
    let bytes = [frame(TEXT, b"\xe2"), frame(CONTINUATION, b"\x82"), frame(FIN | CONTINUATION, b"\xac")];
    let messages = vec![Message::Text("€".into())];
    assert_eq!(decode(BYTES_MAX, &bytes.concat(), &[1]), (messages, None));
}

#[test]
fn every_close_code_that_may_be_sent_is_read() {
    let codes = (1000..=1003).chain(1007..=1014).chain([3000, 4000, 4999]);
    for code in codes {
        let payload = [&u16::to_be_bytes(code)[..], "grüß dich".as_bytes()].concat();
        let (messages, error) = decode(BYTES_MAX, &frame(FIN | CLOSE, &payload), &[3]);
        assert_eq!((messages, error), (vec![Message::Close(Some(code))], None));
    }
    let (messages, _) = decode(BYTES_MAX, &frame(FIN | CLOSE, b""), &[3]);
    assert_eq!(messages, [Message::Close(None)]);
}

#[test]
fn nothing_is_read_after_a_close() {
    let bytes = [frame(FIN | CLOSE, b""), frame(FIN | TEXT, b"late")].concat();
    let mut decoder = Decoder::new(BYTES_MAX);
    decoder.feed(&bytes);
    assert_eq!(drain(&mut decoder), (vec![Message::Close(None)], None));
    decoder.feed(b"noise");
    assert_eq!(drain(&mut decoder), (vec![], None));
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn a_waiting_decoder_is_small_and_holds_nothing() {
    assert!(size_of::<Decoder>() <= 160, "{}", size_of::<Decoder>());
    let mut decoder = Decoder::new(BYTES_MAX);
    decoder.feed(&frame(FIN | TEXT, b"hello").repeat(1000));
    assert_eq!(drain(&mut decoder).0.len(), 1000);
    assert_eq!(decoder.buffered(), 0);
}

/// The large buffer of a burst must go although the start of a next frame is waiting.
#[cfg(target_os = "linux")]
#[test]
fn ten_thousand_waiting_decoders_hold_no_burst() {
    let rss_kb = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        line.unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let burst = [frame(FIN | BINARY, &[0; 1 << 14]), vec![FIN | TEXT]].concat();
    let before_kb = rss_kb();
    let decoders: Vec<Decoder> = (0..10_000)
        .map(|_| {
            let mut decoder = Decoder::new(1 << 14);
            decoder.feed(&burst);
            assert_eq!(drain(&mut decoder), (vec![Message::Binary], None));
            assert_eq!(decoder.buffered(), 1);
            decoder
        })
        .collect();
    // 160 MB if each kept its burst; the other tests of this process may take some meanwhile.
    let kb = rss_kb().saturating_sub(before_kb);
    assert!(kb < 40_000, "{} decoders hold {kb} kB", decoders.len());
}

#[test]
fn binary_is_counted_and_not_kept() {
    let mut decoder = Decoder::new(BYTES_MAX);
    decoder.feed(&frame(FIN | BINARY, &[7; 900])[..800]);
    assert_eq!(drain(&mut decoder), (vec![], None));
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn a_caller_that_only_feeds_is_stopped() {
    let mut decoder = Decoder::new(BYTES_MAX);
    for _ in 0..1000 {
        decoder.feed(&[FIN | PING, 0x80, 0, 0, 0, 0]);
        assert!(decoder.buffered() <= BYTES_MAX + OVERHEAD_BYTES_MAX + 6);
    }
    let error = decoder.next().unwrap_err();
    assert_eq!(error.close_code(), 4413, "{error}");
}

#[test]
fn our_frames_have_the_shortest_header() {
    let start = |bytes: usize| {
        let mut out = b"before".to_vec();
        frame::text(&"x".repeat(bytes), &mut out);
        let frame = out.strip_prefix(b"before").unwrap();
        let (header, payload) = frame.split_at(frame.len() - bytes);
        assert!(payload.iter().all(|byte| *byte == b'x'));
        header.to_vec()
    };
    assert_eq!(start(0), [0x81, 0]);
    assert_eq!(start(125), [0x81, 125]);
    assert_eq!(start(126), [0x81, 126, 0, 126]);
    assert_eq!(start(65535), [0x81, 126, 255, 255]);
    assert_eq!(start(65536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(&frame::ping(b"hi")[..], b"\x89\x02hi");
    assert_eq!(&frame::pong(b"hi")[..], b"\x8a\x02hi");
    assert_eq!(&frame::close(1000, "bye")[..], b"\x88\x05\x03\xe8bye");
}

#[test]
fn a_long_close_reason_is_cut_between_characters() {
    for (reason, bytes) in [
        ("€".repeat(100), 123),
        (format!("x{}", "€".repeat(100)), 121),
        (format!("xx{}", "€".repeat(100)), 122),
        ("x".repeat(124), 123),
    ] {
        let frame = frame::close(1013, &reason);
        assert_eq!(usize::from(frame[1]), frame.len() - 2);
        let sent = str::from_utf8(&frame[4..]).unwrap();
        assert_eq!(sent, &reason[..bytes]);
    }
}

// Properties.

fn control() -> impl Strategy<Value = Control> {
    (prop_oneof![Just(PING), Just(PONG)], vec(any::<u8>(), 0..126))
}

/// Texts on both sides of a length where the header's encoding changes.
fn around(bytes: usize) -> impl Strategy<Value = String> {
    (bytes - 2..bytes + 2).prop_map(|bytes| "x".repeat(bytes))
}

/// Opcode and payload.
type Control = (u8, Vec<u8>);

/// A data message, where it is cut into fragments, and what comes before each of them.
#[derive(Clone, Debug)]
struct Said {
    opcode: u8,
    payload: String,
    cuts: Vec<(Index, Vec<Control>)>,
}

fn said() -> impl Strategy<Value = Said> {
    let payload = prop_oneof![3 => ".{0,20}", 2 => ".{60,150}", 1 => around(126), 1 => around(65536)];
    let cuts = vec((any::<Index>(), vec(control(), 0..3)), 0..6);
    (prop_oneof![3 => Just(TEXT), 1 => Just(BINARY)], payload, cuts).prop_map(|(opcode, payload, cuts)| Said {
        opcode,
        payload,
        cuts,
    })
}

fn write(said: &[Said], close: Option<u16>) -> (Vec<u8>, Vec<Message>) {
    let (mut bytes, mut messages) = (Vec::new(), Vec::new());
    for Said { opcode, payload, cuts } in said {
        let mut ends: Vec<usize> = cuts.iter().map(|(cut, _)| cut.index(payload.len() + 1)).collect();
        ends.sort();
        let mut start = 0;
        let mut first = *opcode;
        for (end, (_, controls)) in ends.into_iter().zip(cuts) {
            bytes.extend(frame(first, &payload.as_bytes()[start..end]));
            (first, start) = (CONTINUATION, end);
            for (opcode, payload) in controls {
                bytes.extend(frame(FIN | opcode, payload));
                messages.push(match *opcode {
                    PING => Message::Ping(payload.clone()),
                    _ => Message::Pong,
                });
            }
        }
        bytes.extend(frame(FIN | first, &payload.as_bytes()[start..]));
        messages.push(match *opcode {
            TEXT => Message::Text(payload.clone()),
            _ => Message::Binary,
        });
    }
    if let Some(code) = close {
        bytes.extend(frame(FIN | CLOSE, &code.to_be_bytes()));
        messages.push(Message::Close(close));
    }
    (bytes, messages)
}

/// Frames that are nearly right: the nearer, the deeper they get.
fn nearly_frames() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        12 => (prop::sample::select(vec![0, 0, 0, 1, 1, 2, 8, 9, 10]), any::<bool>())
            .prop_map(|(opcode, fin)| if fin { FIN | opcode } else { opcode }),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        4 => "[a-zé€]{0,40}".prop_map(String::into_bytes),
        1 => (1000u16..5000, "[a-z]{0,9}").prop_map(|(c, r)| [&c.to_be_bytes()[..], r.as_bytes()].concat()),
        1 => vec(any::<u8>(), 0..400),
    ];
    let one = prop_oneof![
        12 => (first, payload).prop_map(|(first, payload)| frame(first, &payload)),
        1 => vec(any::<u8>(), 0..20),
    ];
    vec(one, 0..12).prop_map(|frames| frames.concat())
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(1..20usize, 1..20), vec(1..5000usize, 1..5)]
}

proptest! {
    #[test]
    fn what_is_said_is_read_however_it_is_cut(
        said in vec(said(), 0..5),
        close in proptest::option::of(4000u16..5000),
        sizes in sizes(),
    ) {
        let (bytes, messages) = write(&said, close);
        prop_assert_eq!(decode(1 << 18, &bytes, &sizes), (messages, None));
    }

    #[test]
    fn any_bytes_at_all_are_read_or_refused(
        bytes in prop_oneof![vec(any::<u8>(), 0..3000), nearly_frames()],
        bytes_max in 0..500usize,
        sizes in sizes(),
    ) {
        let at_once = decode(bytes_max, &bytes, &[bytes.len() + 1]);
        prop_assert_eq!(decode(bytes_max, &bytes, &sizes), at_once);
    }

    #[test]
    fn a_decoder_that_is_only_fed_stays_bounded(
        bytes in nearly_frames(),
        bytes_max in 0..100usize,
        size in 1..50usize,
    ) {
        let mut decoder = Decoder::new(bytes_max);
        for piece in bytes.chunks(size) {
            decoder.feed(piece);
            prop_assert!(decoder.buffered() <= bytes_max + OVERHEAD_BYTES_MAX + size);
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_on_the_header_alone(
        bytes_max in 0..100_000usize,
        beyond in prop_oneof![1..1000u64, 1..(1u64 << 62)],
        begun in proptest::option::of(any::<Index>()),
        opcode in prop_oneof![Just(TEXT), Just(BINARY)],
    ) {
        let mut decoder = Decoder::new(bytes_max);
        let (first, room) = match begun {
            None => (opcode, bytes_max),
            Some(index) => {
                let begun = index.index(bytes_max + 1);
                decoder.feed(&frame(opcode, &vec![b'x'; begun]));
                prop_assert_eq!(drain(&mut decoder), (vec![], None));
                (CONTINUATION, bytes_max - begun)
            }
        };
        decoder.feed(&header(FIN | first, room as u64 + beyond));
        let too_large = DecodeError::TooLarge { message_bytes_max: bytes_max };
        prop_assert_eq!(drain(&mut decoder), (vec![], Some(too_large)));
        prop_assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn tungstenite_reads_what_we_write(
        texts in vec(prop_oneof![3 => ".{0,50}", 1 => around(126), 1 => around(65536)], 0..5),
        payload in vec(any::<u8>(), 0..126),
        reason in ".{0,200}",
    ) {
        let mut bytes = Vec::new();
        for text in &texts {
            frame::text(text, &mut bytes);
        }
        bytes.extend(frame::ping(&payload));
        bytes.extend(frame::pong(&payload));
        bytes.extend(frame::close(4401, &reason));

        let mut client = WebSocket::from_raw_socket(Wire::new(bytes), Role::Client, None);
        for text in texts {
            prop_assert_eq!(client.read().unwrap(), tungstenite::Message::text(text));
        }
        let payload = tungstenite::Bytes::from(payload);
        prop_assert_eq!(client.read().unwrap(), tungstenite::Message::Ping(payload.clone()));
        prop_assert_eq!(client.read().unwrap(), tungstenite::Message::Pong(payload));
        let tungstenite::Message::Close(Some(CloseFrame { code, reason: sent })) = client.read().unwrap() else {
            panic!("no close");
        };
        prop_assert_eq!(u16::from(code), 4401);
        prop_assert!(reason.starts_with(sent.as_str()));
        prop_assert!(sent.len() == reason.len() || sent.len() > 119);
    }

    #[test]
    fn we_read_what_tungstenite_writes(
        texts in vec(vec(prop_oneof![3 => ".{0,50}", 1 => around(126), 1 => around(65536)], 1..4), 0..5),
        pings in vec(vec(any::<u8>(), 0..126), 5),
        sizes in sizes(),
    ) {
        let mut client = WebSocket::from_raw_socket(Wire::new(vec![]), Role::Client, None);
        let mut messages = Vec::new();
        for (fragments, ping) in texts.into_iter().zip(pings) {
            let text = Message::Text(fragments.concat());
            let last = fragments.len() - 1;
            for (i, fragment) in fragments.into_iter().enumerate() {
                let data = if i == 0 { Data::Text } else { Data::Continue };
                let frame = Frame::message(fragment, OpCode::Data(data), i == last);
                client.send(tungstenite::Message::Frame(frame)).unwrap();
                if i < last {
                    client.send(tungstenite::Message::Ping(ping.clone().into())).unwrap();
                    messages.push(Message::Ping(ping.clone()));
                }
            }
            messages.push(text);
        }
        client.send(tungstenite::Message::binary(vec![1, 2, 3])).unwrap();
        client.send(tungstenite::Message::Pong(vec![1].into())).unwrap();
        let close = CloseFrame { code: CloseCode::Away, reason: "bye".into() };
        client.close(Some(close)).unwrap();
        messages.extend([Message::Binary, Message::Pong, Message::Close(Some(1001))]);

        let written = client.into_inner().written;
        prop_assert_eq!(decode(1 << 20, &written, &sizes), (messages, None));
    }

    #[test]
    fn tungstenite_accepts_whatever_we_accept(bytes in nearly_frames()) {
        let (ours, _) = decode(1 << 20, &bytes, &[bytes.len() + 1]);
        let mut server = WebSocket::from_raw_socket(Wire::new(bytes), Role::Server, None);
        let mut ours = ours.into_iter();
        while let Some(message) = ours.next() {
            let theirs = match server.read() {
                Ok(tungstenite::Message::Text(text)) => Message::Text(text.to_string()),
                Ok(tungstenite::Message::Binary(_)) => Message::Binary,
                Ok(tungstenite::Message::Ping(payload)) => Message::Ping(payload.to_vec()),
                Ok(tungstenite::Message::Pong(_)) => Message::Pong,
                Ok(tungstenite::Message::Close(_)) => {
                    // It does not know 1014, so the code is not compared.
                    prop_assert!(matches!(message, Message::Close(_)));
                    continue;
                }
                Ok(tungstenite::Message::Frame(_)) => unreachable!("never read"),
                Err(tungstenite::Error::Utf8(_)) => {
                    // It checks each fragment, we the whole: only control frames can slip through.
                    let data = |m: &Message| matches!(m, Message::Text(_) | Message::Binary);
                    prop_assert!(!data(&message) && !ours.any(|m| data(&m)));
                    break;
                }
                Err(error) => panic!("{error}, but we read {message:?}"),
            };
            prop_assert_eq!(theirs, message);
        }
    }
}

/// A peer's socket: reads what it was made of, keeps what is written to it.
struct Wire {
    incoming: Cursor<Vec<u8>>,
    written: Vec<u8>,
}

impl Wire {
    fn new(incoming: Vec<u8>) -> Self {
        let incoming = Cursor::new(incoming);
        Self { incoming, written: Vec::new() }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.incoming.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_message_of_very_many_fragments_is_refused() {
    let mut decoder = Decoder::new(1000);
    decoder.feed(&[0x01, 0x80, 0, 0, 0, 0]);
    let mut fragments = 1;
    let refused = loop {
        match decoder.next() {
            Ok(message) => assert_eq!(message, None),
            Err(error) => break error,
        }
        decoder.feed(&[0x00, 0x80, 0, 0, 0, 0]);
        fragments += 1;
        assert!(fragments < 10_000, "empty fragments go on for ever");
    };
    assert_eq!((refused.close_code(), fragments), (4413, 1025));
}
