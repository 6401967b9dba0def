//! Full means coarser, and whatever is put in is covered by what comes out.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::time::Duration;

use bytes::Bytes;
use pgherald::cursor::Cursor;
use pgherald::encoding::{Encodings, Event};
use pgherald::event::{Invalidation, ProjectId, Scope};
use pgherald::frame;
use pgherald::interest::Selected;
use pgherald::mailbox::{Coarsening, Mailbox};
use pgherald::protocol::{self, Form, Reason};
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: &str = "2026-11-20T17:00:00.000000Z";
const SPREAD: Duration = Duration::from_secs(2);

fn project(name: &str) -> ProjectId {
    ProjectId::parse(name).unwrap()
}

/// A change of rows; no id = the whole resource.
fn event(project_id: &str, resource: &str, ids: &[u64], cursor: Option<u64>) -> Event {
    let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
    let mut change = Invalidation::of_resource(resource.into(), Scope::Project(project(project_id)));
    change.ids = (!ids.is_empty()).then_some(ids);
    let cursor = cursor.map(|transaction| Cursor { transaction, ordinal: 0, place: 0 });
    Encodings::new(&change, &project(project_id), cursor, NOW).event(Form::default(), &Selected::All).unwrap()
}

fn answer(number: usize) -> Bytes {
    let mut out = Vec::new();
    frame::text(&json!({ "type": "pong", "ref": number.to_string() }).to_string(), &mut out);
    out.into()
}

/// One frame that came out, and the place of its first byte in the stream.
struct Sent {
    at: usize,
    frame: Value,
}

impl Sent {
    /// `task 7/1`, `task 7/*`, `reconnect 7`, `reconnect *`, `pong 3`.
    fn short(&self) -> String {
        let text = |value: &Value| value.as_str().unwrap_or("*").to_owned();
        let (frame, data) = (&self.frame, &self.frame["data"]);
        match frame["type"].as_str() {
            Some("cache_invalidate") => {
                format!("{} {}/{}", text(&data["resource"]), text(&data["project_id"]), text(&data["id"]))
            }
            Some("pong") => format!("pong {}", text(&frame["ref"])),
            Some(kind) => format!("{kind} {}", text(&frame["project_id"])),
            None => panic!("no frame: {frame}"),
        }
    }

    /// Whether it tells a client that a row of a resource of a project is stale.
    fn covers(&self, change: &Change) -> bool {
        let [row, resource] =
            [change.row.to_string(), "*".to_owned()].map(|id| format!("{} {}/{id}", change.resource, change.project));
        let reconnects = ["reconnect *".to_owned(), format!("reconnect {}", change.project)];
        let short = self.short();
        short == row || short == resource || reconnects.contains(&short)
    }
}

/// The frames of a stream; RFC 6455 5.2, by hand: server frames are final, unmasked text.
fn decode(stream: &[u8]) -> Vec<Sent> {
    let (mut frames, mut at) = (Vec::new(), 0);
    while at < stream.len() {
        let rest = &stream[at..];
        assert_eq!(rest[0], 0x81, "a final text frame begins at byte {at}");
        let (header, bytes) = match rest[1] {
            length @ ..=125 => (2, usize::from(length)),
            126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
            _ => panic!("no frame of a mailbox is that long"),
        };
        let frame = serde_json::from_slice(&rest[header..header + bytes]).expect("a frame is JSON");
        frames.push(Sent { at, frame });
        at += header + bytes;
    }
    frames
}

/// A mailbox and the client's end of it.
struct Wire {
    mailbox: Mailbox,
    stream: Vec<u8>,
    /// The last write ended within a run of frames.
    within: bool,
}

impl Wire {
    fn new(frames_max: usize) -> Self {
        Self { mailbox: Mailbox::new(frames_max, protocol::Wire::WebSocket), stream: Vec::new(), within: false }
    }

    fn pieces(&self) -> Vec<Vec<u8>> {
        let mut slices = [IoSlice::new(&[]); 512];
        let filled = self.mailbox.fill(&mut slices);
        slices[..filled].iter().map(|slice| slice.to_vec()).collect()
    }

    /// Writes at most so many bytes, as a socket would take them.
    fn write(&mut self, bytes_max: usize) {
        let pieces = self.pieces();
        let waiting = pieces.concat();
        let bytes = bytes_max.min(waiting.len());
        if bytes == 0 {
            return;
        }
        self.stream.extend_from_slice(&waiting[..bytes]);
        let ends = pieces.iter().scan(0, |end, piece| {
            *end += piece.len();
            Some(*end)
        });
        self.within = !ends.into_iter().any(|end| end == bytes);
        self.mailbox.advance(bytes);
    }

    fn write_all(&mut self) {
        while !self.mailbox.is_empty() {
            self.write(usize::MAX);
        }
    }

    /// Frames of changes that wait, the run on its way not counted.
    fn changes_waiting(&self) -> usize {
        let pieces = self.pieces();
        let waiting = pieces.into_iter().skip(usize::from(self.within)).flatten().collect::<Vec<_>>();
        decode(&waiting).iter().filter(|sent| sent.frame["type"] != "pong").count()
    }

    fn put(&mut self, project_id: &str, resource: &str, ids: &[u64]) -> Option<Coarsening> {
        self.mailbox.put(&event(project_id, resource, ids, None), NOW, || SPREAD)
    }

    /// Writes all and asserts what the client has read from the start.
    fn reads(&mut self, expected: &[&str]) {
        self.write_all();
        let short: Vec<String> = decode(&self.stream).iter().map(Sent::short).collect();
        assert_eq!(short, expected);
        assert!(self.mailbox.is_empty());
        assert_eq!(self.mailbox.frames(), 0);
    }
}

#[test]
fn frames_come_out_in_the_order_in_which_they_went_in() {
    let mut wire = Wire::new(8);
    wire.put("7", "task", &[1, 2]);
    wire.mailbox.answer(answer(1));
    wire.put("8", "task", &[3]);
    wire.put("7", "sprint", &[]);
    wire.put("7", "task", &[1]);
    assert_eq!(wire.mailbox.frames(), 6);
    wire.reads(&["task 7/1", "task 7/2", "pong 1", "task 8/3", "sprint 7/*", "task 7/1"]);
}

#[test]
fn five_rapid_updates_of_a_row_stay_five_frames() {
    let mut wire = Wire::new(8);
    (0..5).for_each(|_| assert_eq!(wire.put("7", "task", &[1]), None));
    wire.reads(&["task 7/1"; 5]);
}

#[test]
fn a_full_mailbox_becomes_coarser_by_resource() {
    let mut wire = Wire::new(4);
    assert_eq!(wire.put("7", "task", &[1, 2, 3]), None);
    assert_eq!(wire.put("7", "sprint", &[9]), None);
    assert_eq!(wire.put("7", "task", &[4]), Some(Coarsening::Resource));
    wire.reads(&["task 7/*", "sprint 7/*"]);
}

#[test]
fn a_mailbox_full_of_resources_becomes_coarser_by_project() {
    let mut wire = Wire::new(4);
    for resource in ["a", "b", "c", "d"] {
        assert_eq!(wire.put("7", resource, &[1]), None);
    }
    assert_eq!(wire.put("7", "e", &[1]), Some(Coarsening::Project));
    wire.reads(&["reconnect 7"]);
}

#[test]
fn a_mailbox_full_of_projects_becomes_one_reconnect_of_all() {
    let mut wire = Wire::new(4);
    for project in ["1", "2", "3", "4"] {
        assert_eq!(wire.put(project, "task", &[1]), None);
    }
    assert_eq!(wire.put("5", "task", &[1]), Some(Coarsening::Everything));
    wire.reads(&["reconnect *"]);
}

#[test]
fn one_change_larger_than_the_mailbox_names_its_resource() {
    let mut wire = Wire::new(4);
    assert_eq!(wire.put("7", "task", &[1, 2, 3, 4, 5]), Some(Coarsening::Resource));
    wire.reads(&["task 7/*"]);
}

#[test]
fn a_coarser_frame_says_update_and_slow_consumer() {
    let mut wire = Wire::new(1);
    wire.put("7", "task", &[1, 2]);
    wire.write_all();
    let frames = decode(&wire.stream);
    assert_eq!(frames[0].frame["action"], "UPDATE", "a client that ignores deletions must not ignore this one");
    assert_eq!(frames[0].frame["data"]["timestamp"], NOW);
    let mut wire = Wire::new(1);
    wire.put("7", "task", &[1]);
    wire.put("7", "sprint", &[1]);
    wire.write_all();
    assert_eq!(decode(&wire.stream)[0].frame["data"], json!({ "reason": "slow_consumer", "spread_ms": 2000 }));
}

#[test]
fn after_coarsening_there_is_room_for_rows_again() {
    let mut wire = Wire::new(4);
    wire.put("7", "task", &[1, 2, 3, 4, 5]);
    assert_eq!(wire.put("7", "sprint", &[1]), None);
    wire.reads(&["task 7/*", "sprint 7/1"]);
}

#[test]
fn what_is_on_its_way_is_never_changed() {
    let mut wire = Wire::new(4);
    wire.put("7", "task", &[1, 2, 3]);
    wire.write(5);
    assert_eq!(wire.put("7", "task", &[4, 5, 6, 7, 8]), Some(Coarsening::Resource));
    wire.mailbox.reconnect(None, Reason::DatabaseReconnected, SPREAD);
    wire.mailbox.remove(Some(&project("7")));
    wire.mailbox.remove(None);
    wire.put("7", "task", &[9]);
    wire.reads(&["task 7/1", "task 7/2", "task 7/3", "task 7/9"]);
}

#[test]
fn a_change_behind_one_on_its_way_is_told_once_more() {
    // The first byte of "task 7/*" has left when the next change comes: the client may refetch too early.
    let mut wire = Wire::new(1);
    wire.put("7", "task", &[]);
    wire.write(1);
    assert_eq!(wire.put("7", "task", &[1]), None);
    wire.reads(&["task 7/*", "task 7/1"]);
}

#[test]
fn the_run_on_its_way_takes_no_room() {
    let mut wire = Wire::new(4);
    wire.put("7", "task", &[1, 2, 3, 4]);
    wire.write(1);
    assert_eq!(wire.put("7", "task", &[5, 6, 7, 8]), None);
    wire.reads(&["task 7/1", "task 7/2", "task 7/3", "task 7/4", "task 7/5", "task 7/6", "task 7/7", "task 7/8"]);
}

#[test]
fn answers_keep_their_place_and_are_never_dropped() {
    let mut wire = Wire::new(2);
    wire.mailbox.answer(answer(1));
    wire.put("7", "task", &[1]);
    wire.mailbox.answer(answer(2));
    wire.put("7", "task", &[2, 3]);
    wire.mailbox.answer(answer(3));
    wire.mailbox.reconnect(None, Reason::DatabaseReconnected, SPREAD);
    assert_eq!(wire.mailbox.answers(), 3);
    wire.reads(&["pong 1", "reconnect *", "pong 2", "pong 3"]);
}

#[test]
fn answers_take_no_room_of_changes() {
    let mut wire = Wire::new(2);
    (0..10).for_each(|number| wire.mailbox.answer(answer(number)));
    assert_eq!(wire.put("7", "task", &[1]), None);
    assert_eq!(wire.put("7", "task", &[2]), None);
    assert_eq!(wire.put("7", "task", &[3]), Some(Coarsening::Resource));
}

#[test]
fn a_reconnect_replaces_what_waits_of_its_project_only() {
    let mut wire = Wire::new(8);
    wire.put("7", "task", &[1]);
    wire.put("8", "task", &[2]);
    wire.mailbox.reconnect(Some(&project("7")), Reason::HistoryGap, SPREAD);
    wire.put("7", "task", &[3]);
    wire.reads(&["reconnect 7", "task 8/2", "task 7/3"]);
}

#[test]
fn a_reconnect_of_all_replaces_everything_that_waits() {
    let mut wire = Wire::new(8);
    wire.put("7", "task", &[1]);
    wire.mailbox.reconnect(Some(&project("8")), Reason::HistoryGap, SPREAD);
    wire.mailbox.reconnect(None, Reason::DatabaseReconnected, SPREAD);
    wire.mailbox.reconnect(None, Reason::NotificationDropped, SPREAD);
    wire.put("8", "task", &[2]);
    wire.reads(&["reconnect *", "task 8/2"]);
}

#[test]
fn a_removed_project_leaves_the_others_alone() {
    let mut wire = Wire::new(8);
    wire.put("7", "task", &[1]);
    wire.put("8", "task", &[2]);
    wire.mailbox.reconnect(Some(&project("7")), Reason::HistoryGap, SPREAD);
    wire.mailbox.remove(Some(&project("7")));
    assert_eq!(wire.mailbox.frames(), 1);
    wire.reads(&["task 8/2"]);
}

#[test]
fn a_vectored_write_takes_no_more_pieces_than_it_has_room_for() {
    let mut wire = Wire::new(8);
    for id in 0..5 {
        wire.put("7", "task", &[id]);
    }
    let mut slices = [IoSlice::new(&[]); 2];
    assert_eq!(wire.mailbox.fill(&mut slices), 2);
    assert_eq!(wire.mailbox.fill(&mut []), 0);
    assert_eq!(Mailbox::new(4, protocol::Wire::WebSocket).fill(&mut slices), 0);
}

/// What can happen to a mailbox.
#[derive(Clone, Debug)]
enum Step {
    Put { project: u8, resource: u8, rows: u8 },
    Answer,
    Write { bytes: usize },
    Reconnect(Option<u8>),
    Remove(u8),
}

/// A row that was changed, and how much had been written by then. Each row has a number of its own.
#[derive(Debug)]
struct Change {
    project: String,
    resource: String,
    row: u64,
    /// Of the change, or of the newest one before a reconnect.
    cursor: u64,
    written: usize,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..4_u8, 0..4_u8, 0..6_u8).prop_map(|(project, resource, rows)| Step::Put { project, resource, rows }),
        1 => Just(Step::Answer),
        3 => prop_oneof![1..40_usize, 1..2_000_usize].prop_map(|bytes| Step::Write { bytes }),
        1 => prop::option::of(0..4_u8).prop_map(Step::Reconnect),
        1 => (0..4_u8).prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_change_is_covered_by_a_frame_that_begins_after_it(frames_max in 1..10_usize, steps in steps()) {
        let mut wire = Wire::new(frames_max);
        let (mut changes, mut resyncs): (Vec<Change>, Vec<Change>) = (Vec::new(), Vec::new());
        let (mut row, mut answers, mut cursor) = (0, 0, 0);
        for step in steps {
            let written = wire.stream.len();
            match step {
                Step::Put { project, resource, rows } => {
                    let (project, resource) = (format!("p{project}"), format!("r{resource}"));
                    let ids: Vec<u64> = (row..row + u64::from(rows)).collect();
                    cursor += 1;
                    wire.mailbox.put(&event(&project, &resource, &ids, Some(cursor)), NOW, || SPREAD);
                    // Without rows it is the whole resource, whose row of no number only `*` covers.
                    row += u64::from(rows.max(1));
                    let rows = if ids.is_empty() { vec![u64::MAX] } else { ids };
                    changes.extend(rows.into_iter().map(|row| {
                        Change { project: project.clone(), resource: resource.clone(), row, cursor, written }
                    }));
                }
                Step::Answer => {
                    wire.mailbox.answer(answer(answers));
                    answers += 1;
                }
                Step::Write { bytes } => wire.write(bytes),
                Step::Reconnect(of) => {
                    let of = of.map(|number| format!("p{number}"));
                    wire.mailbox.reconnect(of.as_deref().map(project).as_ref(), Reason::DatabaseReconnected, SPREAD);
                    let project = of.unwrap_or_else(|| "*".into());
                    resyncs.push(Change { project, resource: "*".into(), row: u64::MAX, cursor, written });
                }
                Step::Remove(number) => {
                    let gone = format!("p{number}");
                    wire.mailbox.remove(Some(&project(&gone)));
                    // Whoever leaves a project is owed nothing of it.
                    changes.retain(|change| change.project != gone);
                    resyncs.retain(|resync| resync.project != gone);
                }
            }
            prop_assert!(wire.changes_waiting() <= frames_max, "{} frames wait", wire.changes_waiting());
        }
        wire.write_all();
        prop_assert_eq!(wire.mailbox.frames(), 0);

        let sent = decode(&wire.stream);
        for change in &changes {
            let told = sent.iter().any(|frame| frame.at >= change.written && frame.covers(change));
            prop_assert!(told, "{change:?} is not covered");
        }
        // A client that resumes from the cursor of any frame has been told of all up to it.
        for (place, frame) in sent.iter().enumerate() {
            let Some(cursor) = frame.frame["cursor"].as_str().and_then(Cursor::parse) else { continue };
            let before = &sent[..=place];
            for change in changes.iter().filter(|change| change.cursor < cursor.transaction) {
                let told = before.iter().any(|frame| frame.at >= change.written && frame.covers(change));
                prop_assert!(told, "{change:?} is not covered before cursor {cursor}");
            }
        }
        for resync in &resyncs {
            let wanted = ["reconnect *".to_owned(), format!("reconnect {}", resync.project)];
            let told = sent.iter().any(|frame| frame.at >= resync.written && wanted.contains(&frame.short()));
            prop_assert!(told, "{resync:?} was dropped");
        }
        // Every answer once and in order; rows that stayed rows in commit order.
        let number = |frame: &Sent, place: [&str; 2]| frame.frame[place[0]].as_str().or(frame.frame[place[0]][place[1]].as_str())?.parse().ok();
        let pongs: Vec<usize> = sent.iter().filter_map(|frame| number(frame, ["ref", ""])).collect();
        prop_assert_eq!(pongs, (0..answers).collect::<Vec<_>>());
        let rows: Vec<usize> = sent.iter().filter_map(|frame| number(frame, ["data", "id"])).collect();
        prop_assert!(rows.is_sorted_by(|one, next| one < next), "{rows:?}");
        // Nothing is told that did not happen.
        let projects: BTreeSet<String> = (0..4).map(|number| format!("p{number}")).collect();
        for frame in &sent {
            if let Some(project) = frame.frame["project_id"].as_str() {
                prop_assert!(projects.contains(project));
            }
        }
    }
}
