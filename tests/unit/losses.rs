//! Whoever may have missed a notification is told at once, and again when the losers have committed.

use pgherald::losses::{Losses, Verdict};

/// Looks at (dropped, oldest running transaction); takes the fence where one is asked for.
fn check(looks: &[(i64, u64, Option<u64>, Verdict)]) {
    let mut losses = Losses::default();
    for (place, (dropped, oldest_running, fence, expected)) in looks.iter().enumerate() {
        let verdict = losses.look(*dropped, *oldest_running);
        assert_eq!(verdict, *expected, "look {place} of {looks:?}");
        if let Some(fence) = fence {
            losses.fence(*fence);
        }
    }
}

#[test]
fn nothing_lost_is_nothing_told() {
    check(&[(0, 100, None, Verdict::Quiet), (0, 101, None, Verdict::Quiet)]);
}

#[test]
fn a_loss_is_told_at_once_and_again_when_its_writers_have_ended() {
    check(&[
        (0, 100, None, Verdict::Quiet),
        // The writer of the loss, transaction 105, still runs: sequences are seen before the commit.
        (1, 105, Some(110), Verdict::TellAndFence),
        (1, 105, None, Verdict::Quiet),
        (1, 110, None, Verdict::Quiet),
        (1, 111, None, Verdict::Tell),
        (1, 112, None, Verdict::Quiet),
    ]);
}

#[test]
fn a_second_loss_while_the_first_is_open_moves_the_fence() {
    check(&[
        (1, 105, Some(110), Verdict::TellAndFence),
        (2, 108, Some(120), Verdict::TellAndFence),
        (2, 115, None, Verdict::Quiet),
        (2, 121, None, Verdict::Tell),
        (2, 130, None, Verdict::Quiet),
    ]);
}

#[test]
fn a_loss_seen_when_an_older_fence_is_due_is_not_forgotten() {
    check(&[
        (1, 105, Some(110), Verdict::TellAndFence),
        (2, 111, Some(120), Verdict::TellAndFence),
        (2, 120, None, Verdict::Quiet),
        (2, 121, None, Verdict::Tell),
    ]);
}

#[test]
fn a_fence_that_could_not_be_taken_is_asked_for_again() {
    // The connection broke behind the look: on the next one the loser may still run, and its commit must be told.
    check(&[
        (1, 105, None, Verdict::TellAndFence),
        (1, 105, Some(110), Verdict::TellAndFence),
        (1, 110, None, Verdict::Quiet),
        (1, 111, None, Verdict::Tell),
        (1, 112, None, Verdict::Quiet),
    ]);
    check(&[
        (1, 105, Some(110), Verdict::TellAndFence),
        (2, 108, None, Verdict::TellAndFence),
        (2, 112, Some(113), Verdict::TellAndFence),
        (2, 114, None, Verdict::Tell),
    ]);
}

#[test]
fn losses_of_before_the_start_are_told_once() {
    check(&[
        (42, 100, Some(101), Verdict::TellAndFence),
        (42, 102, None, Verdict::Tell),
        (42, 103, None, Verdict::Quiet),
    ]);
}

#[test]
fn a_sequence_that_was_set_back_counts_as_a_loss() {
    check(&[
        (5, 100, Some(101), Verdict::TellAndFence),
        (5, 102, None, Verdict::Tell),
        (0, 103, Some(104), Verdict::TellAndFence),
        (0, 105, None, Verdict::Tell),
    ]);
}

#[test]
fn a_fence_of_another_connection_is_taken_again() {
    let mut losses = Losses::default();
    assert_eq!(losses.look(1, 105), Verdict::TellAndFence);
    losses.fence(1_000_000);
    losses.unfence();
    assert_eq!(losses.look(1, 105), Verdict::TellAndFence);
    losses.fence(110);
    assert_eq!((losses.look(1, 110), losses.look(1, 111)), (Verdict::Quiet, Verdict::Tell));
    losses.unfence();
    assert_eq!(losses.look(1, 111), Verdict::Quiet);
}
