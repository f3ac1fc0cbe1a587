//! How somebody waits: for others to get on, and for a database that is away.
//!
//! A database that was killed is no reason to end: what was committed is there when it is back, and the rest is asked
//! for again. Any other failure is answered at once.

use std::io::{self, Write};
use std::time::Duration;

use factum::{BoxError, Sort, Store};

const LEAST: Duration = Duration::from_millis(20);
const MOST: Duration = Duration::from_secs(1);

/// Pauses that double, so that who waits for long does not ask often.
#[derive(Debug)]
pub struct Patience {
    pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { pause: LEAST }
    }
}

impl Patience {
    /// Waits, and the next time twice as long; 20 ms at first, a second at most.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(MOST);
    }

    /// Something has moved: the next pause is a short one.
    pub fn renew(&mut self) {
        *self = Self::default();
    }

    /// Whether it has come to the longest pauses.
    pub fn is_worn(&self) -> bool {
        self.pause == MOST
    }
}

/// Asks until the store is there to answer. After a commit whose outcome nobody knows it asks as well: what is asked for
/// may be done twice.
///
/// # Errors
///
/// Whatever is not cured by waiting.
pub async fn outlast<S, T, E, F>(_: &S, who: &'static str, mut ask: impl FnMut() -> F) -> Result<T, BoxError>
where
    S: Store,
    E: Into<BoxError>,
    F: Future<Output = Result<T, E>>,
{
    let mut patience = Patience::default();
    let mut told = false;
    loop {
        let error = match ask().await.map_err(Into::into) {
            Ok(answer) => return Ok(answer),
            Err(error) if is_cured_by_waiting::<S>(&error) => error,
            Err(error) => return Err(error),
        };
        if patience.is_worn() && !told {
            told = true;
            // Nobody has to be able to read it.
            let _ = writeln!(io::stderr(), "shop: {who}: {error}; waiting for it");
        }
        patience.wait().await;
    }
}

fn is_cured_by_waiting<S: Store>(error: &BoxError) -> bool {
    matches!(Sort::of::<S>(&**error), Sort::Transient | Sort::OutcomeUnknown)
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use factum::Error;
    use factum::memory::{MemoryError, MemoryStore};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_until_they_are_a_second_and_are_short_again_once_something_moves() {
        let (mut patience, began) = (Patience::default(), tokio::time::Instant::now());
        for _ in 0..6 {
            patience.wait().await;
        }
        assert_eq!(began.elapsed(), LEAST * 63);
        assert!(patience.is_worn());
        patience.renew();
        assert!(!patience.is_worn());
    }

    #[tokio::test(start_paused = true)]
    async fn what_waiting_cures_is_asked_for_again_and_nothing_else() {
        let error = |sort| Error::Store(MemoryError::Injected { sort }.into());
        let unknown = || Error::OutcomeUnknown("the connection was lost".into());
        for (first, is_cured) in
            [(error(Sort::Transient), true), (unknown(), true), (error(Sort::Permanent), false)]
        {
            let (what, mut answers) = (format!("{first:?}"), [Err(first), Ok(())].into_iter());
            let outcome = outlast(&MemoryStore::new(), "shop", || ready(answers.next().unwrap())).await;
            assert_eq!((outcome.is_ok(), answers.len()), (is_cured, usize::from(!is_cured)), "{what}");
        }
    }
}
