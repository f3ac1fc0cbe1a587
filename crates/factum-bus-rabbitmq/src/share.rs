//! Sharing a subscription's partitions among the processes that read it.
//!
//! The broker lets one consumer at a time read a queue, and has the others wait in line. Left alone, the process that
//! came first would read everything. So each process looks now and then how many there are, and where it reads more
//! than its share it finishes what is out, lets go, and stands in line again. They are counted at a queue of its own,
//! because the broker does not count those that wait in line. Only partitions that deliver something
//! count: nobody cares who does not read an empty one.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use tokio::sync::watch;

use crate::connection::{Link, Up};
use crate::error::Error;
use crate::read::Seat;
use crate::topology::Topology;

/// Looks after one process's share of one subscription.
pub(crate) struct Share {
    pub(crate) link: Arc<Link>,
    pub(crate) topology: Arc<Topology>,
    pub(crate) subscription: String,
    pub(crate) seats: Vec<Arc<Seat>>,
    pub(crate) every: Duration,
}

impl Share {
    /// Ends with the reading.
    pub(crate) async fn run(self, mut stop: watch::Receiver<()>) {
        let look = async {
            while let Some(up) = self.link.up().await {
                // Not worth a word: it is tried again soon.
                let _ = self.look_after(&up).await;
                tokio::time::sleep(self.every).await;
            }
        };
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            () = look => {}
        }
    }

    /// Ends with the connection.
    async fn look_after(&self, up: &Up) -> Result<(), Error> {
        let queue = self.topology.names.readers(&self.subscription);
        self.topology.plain_queue(up, &queue).await?;
        let channel = self.topology.channel(up).await?;
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        // Nothing is ever in it: what counts is that we stand there.
        let standing = channel.basic_consume(queue.clone(), "".into(), options, none);
        let _standing = up.ask(format!("standing at queue {queue:?}"), standing).await?;
        loop {
            tokio::time::sleep(self.every).await;
            let taken: Vec<_> = self.seats.iter().filter(|seat| seat.is_taken()).collect();
            if taken.len() < 2 {
                continue;
            }
            let processes = self.topology.consumers(up, &channel, &queue).await?;
            for seat in taken.iter().skip(share(self.seats.len(), processes)) {
                seat.leave();
            }
        }
    }
}

/// How many of so many partitions a process reads, at most.
fn share(partitions: usize, processes: usize) -> usize {
    partitions.div_ceil(processes.max(1))
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn together_they_read_everything_and_nobody_much_more_than_another() {
        for (processes, most) in [(0, 8), (1, 8), (2, 4), (3, 3), (8, 1), (20, 1)] {
            assert_eq!(share(8, processes), most, "{processes}");
        }
    }
}
