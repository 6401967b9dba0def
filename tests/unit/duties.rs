//! A panic of what runs beside the sessions does not stay unseen.

use std::future::pending;
use std::time::Duration;

use pgherald::duties::Duties;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

const SOON: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(5);

fn spawned(duty: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(duty))
}

#[tokio::test]
async fn the_one_that_panicked_is_named() {
    let (panic, asked) = oneshot::channel::<()>();
    let mut duties = Duties::default();
    duties.add("goes on", spawned(pending()));
    duties.add("returns", spawned(async {}));
    duties.add("panics", spawned(async { assert!(asked.await.is_err(), "a panic of the test") }));
    assert!(timeout(SOON, duties.broken()).await.is_err(), "nobody has panicked yet");
    panic.send(()).unwrap();
    assert_eq!(timeout(LIMIT, duties.broken()).await, Ok("panics"));
    assert!(timeout(SOON, duties.broken()).await.is_err(), "the others go on");
}

#[tokio::test]
async fn they_end_with_it() {
    let (alive, mut ended) = oneshot::channel::<()>();
    let mut duties = Duties::default();
    duties.add("goes on", spawned(async move { drop((pending::<()>().await, alive)) }));
    assert!(timeout(SOON, &mut ended).await.is_err());
    drop(duties);
    assert!(timeout(LIMIT, ended).await.is_ok_and(|end| end.is_err()));
}

#[tokio::test]
async fn nothing_to_do_is_not_broken() {
    assert!(timeout(SOON, Duties::default().broken()).await.is_err());
}
