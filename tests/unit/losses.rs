//! Whoever may have missed a notification is told at once, and again as the losers end.

use pgherald::losses::{Losses, Verdict};

use crate::writers::writers;

/// Dropped, who is writing, the fence where one is asked for, what is to be done.
type Look<'a> = (i64, &'a [u64], Option<&'a [u64]>, Verdict);

fn check(looks: &[Look<'_>]) {
    let mut losses = Losses::default();
    for (place, (dropped, writing, fence, expected)) in looks.iter().enumerate() {
        let verdict = losses.look(*dropped, &writers(writing));
        assert_eq!(verdict, *expected, "look {place} of {looks:?}");
        if let Some(fence) = fence {
            losses.fence(writers(fence));
        }
    }
}

#[test]
fn nothing_lost_is_nothing_told() {
    check(&[(0, &[100], None, Verdict::Quiet), (0, &[], None, Verdict::Quiet)]);
}

#[test]
fn a_loss_is_told_at_once_and_again_when_its_writer_has_ended() {
    check(&[
        (0, &[100], None, Verdict::Quiet),
        // the writer of the loss, transaction 105, still runs: sequences are seen before the commit
        (1, &[105], Some(&[105]), Verdict::FenceAndTell),
        (1, &[105], None, Verdict::Quiet),
        (1, &[105, 110], None, Verdict::Quiet),
        (1, &[110], None, Verdict::Tell),
        (1, &[], None, Verdict::Quiet),
    ]);
}

#[test]
fn a_transaction_that_lasts_does_not_keep_the_end_of_another_from_anybody() {
    check(&[
        (1, &[7, 105], Some(&[7, 105, 106]), Verdict::FenceAndTell),
        (1, &[7, 106], None, Verdict::Tell),
        (1, &[7], None, Verdict::Tell),
        (1, &[7, 200], None, Verdict::Quiet),
        (1, &[200], None, Verdict::Tell),
        (1, &[], None, Verdict::Quiet),
    ]);
}

#[test]
fn nobody_is_told_twice_where_nobody_writes() {
    check(&[
        (1, &[], Some(&[]), Verdict::FenceAndTell),
        (1, &[120], None, Verdict::Quiet),
        (1, &[], None, Verdict::Quiet),
    ]);
}

#[test]
fn a_second_loss_while_the_first_is_open_is_told_as_well() {
    check(&[
        (1, &[105], Some(&[105]), Verdict::FenceAndTell),
        (2, &[105, 108], Some(&[105, 108]), Verdict::FenceAndTell),
        (2, &[108], None, Verdict::Tell),
        (3, &[112], Some(&[112]), Verdict::FenceAndTell),
        (3, &[], None, Verdict::Tell),
        (3, &[130], None, Verdict::Quiet),
    ]);
}

#[test]
fn a_fence_that_could_not_be_taken_is_asked_for_again() {
    // the connection broke behind the look: on the next one the loser may still run, and its commit must be told
    check(&[
        (1, &[105], None, Verdict::FenceAndTell),
        (1, &[105], Some(&[105]), Verdict::FenceAndTell),
        (1, &[105], None, Verdict::Quiet),
        (1, &[], None, Verdict::Tell),
        (1, &[], None, Verdict::Quiet),
    ]);
    check(&[
        (1, &[105], Some(&[105]), Verdict::FenceAndTell),
        (2, &[108], None, Verdict::FenceAndTell),
        (2, &[108], Some(&[108]), Verdict::FenceAndTell),
        (2, &[], None, Verdict::Tell),
    ]);
}

#[test]
fn losses_of_before_the_start_are_told_once_where_nobody_writes() {
    check(&[(42, &[100], Some(&[]), Verdict::FenceAndTell), (42, &[103], None, Verdict::Quiet)]);
}

#[test]
fn a_sequence_that_was_set_back_counts_as_a_loss() {
    check(&[
        (5, &[100], Some(&[100]), Verdict::FenceAndTell),
        (5, &[], None, Verdict::Tell),
        (0, &[103], Some(&[103]), Verdict::FenceAndTell),
        (0, &[], None, Verdict::Tell),
    ]);
}

#[test]
fn a_fence_of_another_connection_is_taken_again() {
    let mut losses = Losses::default();
    assert_eq!(losses.look(1, &writers(&[105])), Verdict::FenceAndTell);
    losses.fence(writers(&[1_000_000]));
    losses.unfence();
    assert_eq!(losses.look(1, &writers(&[105])), Verdict::FenceAndTell);
    losses.fence(writers(&[105]));
    assert_eq!(losses.look(1, &writers(&[105])), Verdict::Quiet);
    assert_eq!(losses.look(1, &writers(&[])), Verdict::Tell);
    losses.unfence();
    assert_eq!(losses.look(1, &writers(&[])), Verdict::Quiet);
}
