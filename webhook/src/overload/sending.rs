//! Long answers, written as their clients read them.

use std::{io, time::Duration};

use axum::body::{Body, Bytes};
use http_body_util::channel::{Channel, Sender};
use tokio::sync::OwnedSemaphorePermit;

use crate::answer::Rest;

/// How long a client may take to read an answer that does not fit the connection's buffers.
const READ_TIME: Duration = Duration::from_secs(10);

/// An answer that begins with `begun`. Its slot is free when all of it is read, or its time is up.
pub fn send(begun: String, rest: Rest, slot: OwnedSemaphorePermit) -> Body {
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(1);
    tokio::spawn(async move {
        let pieces = pieces(&mut sender, begun, rest);
        if tokio::time::timeout(READ_TIME, pieces).await.is_err() {
            // Else it would end as if it were whole.
            sender.abort(io::ErrorKind::TimedOut.into());
        }
        drop(slot);
    });
    Body::new(body)
}

/// Until it has none, or nobody reads any more.
async fn pieces(sender: &mut Sender<Bytes, io::Error>, begun: String, mut rest: Rest) {
    let mut piece = begun;
    let mut more = true;
    while sender.send_data(piece.into()).await.is_ok() && more {
        piece = String::new();
        more = rest.write(&mut piece);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::{answer, env::Injection, inject, review::Review};

    /// The answer to a Pod with that many containers, and the slots.
    fn sent(containers: usize) -> (Body, Arc<Semaphore>) {
        let list = vec!["{}"; containers].join(",");
        let body = format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","kind":{{"group":"","version":"v1","kind":"Pod"}},"operation":"CREATE","object":{{"spec":{{"containers":[{list}]}}}}}}}}"#
        );
        let injection = Injection::new(&"foo.bar.".parse().unwrap(), None, true);
        let review = Review::parse(body.as_bytes()).unwrap();
        let decision = inject::decide(&review.request, &injection, body.as_bytes());
        let (begun, rest) = answer::begin(&review, decision, &injection).unwrap();
        let slots = Arc::new(Semaphore::new(1));
        let slot = Arc::clone(&slots).try_acquire_owned().unwrap();
        (send(begun, rest.unwrap(), slot), slots)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_has_its_slot_until_it_is_read() {
        let (body, slots) = sent(1000);
        tokio::time::sleep(READ_TIME / 2).await;
        assert_eq!(slots.available_permits(), 0);
        let answer = body.collect().await.unwrap().to_bytes();
        assert!(answer.len() > 100_000 && answer.ends_with(b"\"patchType\":\"JSONPatch\"}}"), "{answer:?}");
        let _ = slots.acquire().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_not_read_breaks_off() {
        let (mut body, slots) = sent(1000);
        assert!(body.frame().await.unwrap().is_ok());
        let begun = tokio::time::Instant::now();
        let _ = slots.acquire().await.unwrap();
        assert_eq!(begun.elapsed(), READ_TIME);
        assert!(body.collect().await.is_err(), "it must not look whole");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_gives_back_its_slot() {
        let (body, slots) = sent(1000);
        let begun = tokio::time::Instant::now();
        drop(body);
        let _ = slots.acquire().await.unwrap();
        assert!(begun.elapsed() < READ_TIME, "{:?}", begun.elapsed());
    }
}
