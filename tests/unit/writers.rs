//! Snapshots as PostgreSQL writes them, and who has ended between two of them.

use pgherald::writers::Writers;

/// Writers with these ids.
pub fn writers(ids: &[u64]) -> Writers {
    let running = ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    Writers::parse(&format!("1:{}:{running}", u64::MAX)).unwrap()
}

#[test]
fn a_snapshot_tells_who_is_writing() {
    for (snapshot, ids) in [
        ("7:7:", vec![]),
        ("7:9:7", vec![7]),
        ("4294967299:4294967310:4294967299,4294967301", vec![4294967299, 4294967301]),
    ] {
        assert_eq!(Writers::parse(snapshot).unwrap(), writers(&ids), "{snapshot}");
        assert_eq!(Writers::parse(snapshot).unwrap().is_empty(), ids.is_empty());
    }
    for wrong in ["", "7", "7:9", "7:9:x", "7:9:7:8", "a:9:7", "-1:9:7"] {
        assert_eq!(Writers::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn who_has_ended_is_found_once_and_who_has_begun_does_not_matter() {
    let mut then = writers(&[3, 5, 8]);
    assert!(!then.forget_ended(&writers(&[3, 5, 8, 9])));
    assert!(then.forget_ended(&writers(&[3, 9])));
    assert!(!then.forget_ended(&writers(&[3, 10])));
    assert!(then.forget_ended(&writers(&[])) && then.is_empty());
    assert!(!then.forget_ended(&writers(&[3])));
}
