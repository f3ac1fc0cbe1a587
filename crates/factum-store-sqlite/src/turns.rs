//! Whose turn it is among processes that write to one file.
//!
//! SQLite has no queue between processes. Who waits asks now and then, and one that begins again as soon as it has
//! committed is there first nearly every time. So whoever waits first locks an empty file beside the database, and is
//! next; and who has written for a while looks whether somebody is, and lets that one go first.
//!
//! It is courtesy, and nothing depends on it: SQLite's own lock keeps writers apart. Where the file cannot be made or
//! locked everybody just asks. The lock is the kernel's, which lets go of it when a process dies; one that is frozen
//! while it is next is waited for only briefly.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a process may begin again and again before it looks whether somebody is next. To hand over costs about a
/// millisecond in which nobody writes, so this is many of them.
const SLICE: Duration = Duration::from_millis(20);

/// How long somebody else is let go first. One that is alive is there much sooner.
const COURTESY: Duration = Duration::from_millis(50);

/// A slice after courtesy that nobody took: who is next has its mind on other things.
const LONG_SLICE: Duration = Duration::from_millis(500);

/// Who waits asks again after this part of the time that it has waited, so that a long transaction is not asked about
/// a thousand times each second, and costs who comes after it little more than it took.
const PART: u32 = 32;
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(10);

/// See the module. One of these takes part once at a time: who has this process's writer.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Whoever has it locked is next.
    next: Option<File>,
    /// When this process's slice is over.
    until: Mutex<Option<Instant>>,
}

impl Turns {
    /// Of the processes that write to this database, which is there already.
    pub(crate) fn of(database: &Path) -> Self {
        let next = open(database).inspect_err(|error| {
            tracing::warn!("{}: no turns are taken with other processes: {error}", database.display());
        });
        Self { next: next.ok(), until: Mutex::default() }
    }

    pub(crate) fn wait(&self, now: Instant) -> Turn<'_> {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let place = if until.is_some_and(|until| now < until) { Place::Going } else { Place::Behind };
        Turn { turns: self, began: now, place, refused: None }
    }
}

fn open(database: &Path) -> io::Result<File> {
    // A link to the file means the same file.
    let mut path = database.canonicalize()?.into_os_string();
    path.push("-turn");
    let path = PathBuf::from(path);
    let made = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    // Somebody else's can be locked all the same.
    made.or_else(|error| File::open(&path).map_err(|_| error))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// This process's slice is not over.
    Going,
    /// It is next.
    Next,
    /// Nobody can tell who is next.
    Unknown,
    /// Somebody else is next.
    Behind,
}

/// A wait for SQLite's lock. Dropped, it is over.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    began: Instant,
    place: Place,
    /// When SQLite was asked, and said no.
    refused: Option<Instant>,
}

impl Turn<'_> {
    /// Whether to ask SQLite now, or to let somebody else go first.
    pub(crate) fn may_begin(&mut self, now: Instant) -> bool {
        if self.place == Place::Behind {
            self.place = self.turns.line_up();
        }
        let waited = now.saturating_duration_since(self.began);
        let seldom = |refused: Instant| now.saturating_duration_since(refused) >= waited / PART;
        self.place != Place::Behind || waited >= COURTESY && self.refused.is_none_or(seldom)
    }

    /// SQLite was asked, and somebody else writes.
    pub(crate) fn refused(&mut self, now: Instant) {
        self.refused = Some(now);
        if self.place == Place::Going {
            self.place = Place::Behind;
        }
    }

    /// How long to do nothing.
    pub(crate) fn pause(&self, now: Instant) -> Duration {
        let part = now.saturating_duration_since(self.began) / PART;
        match self.place {
            // Whether it is next now costs little to find out, and who came later must not find out first.
            Place::Behind => PAUSE_MIN,
            // SQLite has waited for a while itself.
            Place::Next if part < PAUSE_MIN => Duration::ZERO,
            _ => part.clamp(PAUSE_MIN, PAUSE_MAX),
        }
    }

    /// A transaction has begun.
    pub(crate) fn begun(self, now: Instant) {
        let slice = match self.place {
            Place::Going => return,
            Place::Behind if self.refused.is_none() => LONG_SLICE,
            Place::Behind | Place::Next | Place::Unknown => SLICE,
        };
        *self.turns.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(now + slice);
    }
}

impl Turns {
    fn line_up(&self) -> Place {
        let Some(next) = &self.next else { return Place::Unknown };
        match next.try_lock() {
            Ok(()) => Place::Next,
            Err(TryLockError::WouldBlock) => Place::Behind,
            Err(TryLockError::Error(_)) => Place::Unknown,
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let (Place::Next, Some(next)) = (self.place, &self.turns.next) {
            // There is nobody to tell, and who is let go first all the same is let go only briefly.
            let _ = next.unlock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two processes' views of one file.
    fn two() -> (tempfile::TempDir, Turns, Turns) {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("test.db");
        File::create(&database).unwrap();
        let turns = || Turns::of(&database);
        let (one, other) = (turns(), turns());
        (folder, one, other)
    }

    fn begin(turns: &Turns, now: Instant) {
        let mut turn = turns.wait(now);
        assert!(turn.may_begin(now));
        turn.begun(now);
    }

    #[test]
    fn who_has_written_for_a_while_lets_the_one_that_waits_go_first() {
        let (_folder, one, other) = two();
        let start = Instant::now();
        begin(&one, start);
        let mut waiting = other.wait(start);
        assert!(waiting.may_begin(start));
        waiting.refused(start);
        begin(&one, start + SLICE / 2);

        let over = start + SLICE;
        let mut again = one.wait(over);
        assert!(!again.may_begin(over) && waiting.may_begin(over));
        waiting.begun(over);
        assert!(again.may_begin(over), "it is next now");
    }

    #[test]
    fn who_was_refused_within_its_slice_lines_up() {
        let (_folder, one, other) = two();
        let start = Instant::now();
        begin(&one, start);
        begin(&other, start);
        let mut again = one.wait(start);
        assert!(again.may_begin(start));
        again.refused(start);
        let mut waiting = other.wait(start + SLICE);
        assert!(waiting.may_begin(start + SLICE), "nobody lines up before asking again");
        drop(waiting);
        assert!(again.may_begin(start));
        assert!(!other.wait(start + SLICE).may_begin(start + SLICE));
    }

    #[test]
    fn a_wait_that_is_dropped_is_over() {
        let (_folder, one, other) = two();
        let start = Instant::now();
        let mut waiting = other.wait(start);
        assert!(waiting.may_begin(start) && !one.wait(start).may_begin(start));
        drop(waiting);
        begin(&one, start);
    }

    #[test]
    fn one_that_is_next_and_frozen_is_waited_for_briefly_and_seldom() {
        let (_folder, one, other) = two();
        let start = Instant::now();
        let mut frozen = other.wait(start);
        assert!(frozen.may_begin(start));
        let mut turn = one.wait(start);
        assert!(!turn.may_begin(start) && !turn.may_begin(start + COURTESY / 2));
        let late = start + COURTESY;
        assert!(turn.may_begin(late));
        turn.begun(late);
        begin(&one, late + LONG_SLICE / 2);
        assert!(!one.wait(late + LONG_SLICE).may_begin(late + LONG_SLICE));
    }

    #[test]
    fn where_no_file_can_be_made_everybody_may_ask() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = Turns::of(&folder.path().join("missing").join("test.db"));
        begin(&nowhere, Instant::now());
    }

    #[test]
    fn who_waits_for_long_asks_seldom() {
        let (_folder, one, other) = two();
        let start = Instant::now();
        let mut turn = one.wait(start);
        assert!(turn.may_begin(start));
        assert_eq!(turn.pause(start), Duration::ZERO);
        assert_eq!(turn.pause(start + Duration::from_millis(64)), Duration::from_millis(2));
        let late = start + Duration::from_secs(9);
        assert_eq!(turn.pause(late), PAUSE_MAX);

        let mut behind = other.wait(start);
        assert!(behind.may_begin(late));
        behind.refused(late);
        assert!(!behind.may_begin(late + PAUSE_MAX));
        assert_eq!(behind.pause(late), PAUSE_MIN, "it looks whether it is next");
    }
}
