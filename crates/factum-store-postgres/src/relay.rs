//! The outbox as a relay sees it: leases, reads, settlements, and a hint when there is something.

use factum::port::{Asked, Found, Lease, Leased, OutboxStore, Read, Settlement};
use factum::{BoxError, BoxFuture};

use crate::{Postgres, lease, partitioned, read, settle};

impl OutboxStore for Postgres {
    fn lease<'a>(&'a self, owner: &'a str, asked: Asked) -> BoxFuture<'a, Result<Leased, BoxError>> {
        Box::pin(async move {
            let texts = &self.shared.texts;
            let query = lease::lease_query(texts, owner, asked);
            let rows = self.shared.sessions.fetch(&texts.begin_own, query).await?;
            Ok(lease::leased(rows.first().ok_or(sqlx::Error::RowNotFound)?)?)
        })
    }

    fn release<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let texts = &self.shared.texts;
            let query = texts.query(&texts.release_leases).bind(owner.to_owned());
            self.shared.sessions.execute(&texts.begin_own, query).await?;
            Ok(())
        })
    }

    fn read<'a>(&'a self, read: Read) -> BoxFuture<'a, Result<Found, BoxError>> {
        Box::pin(async move { Ok(read::read(self, &read).await?) })
    }

    fn settle<'a>(
        &'a self,
        owner: &'a str,
        leases: &'a [Lease],
        settlement: &'a Settlement,
    ) -> BoxFuture<'a, Result<usize, BoxError>> {
        Box::pin(async move { Ok(settle::settle(self, owner, leases, settlement).await?) })
    }

    fn hint(&self) -> BoxFuture<'_, ()> {
        self.shared.wake.listen(&self.shared.hint);
        Box::pin(self.shared.hint.wait(&self.seen))
    }

    fn clean_up(&self) -> BoxFuture<'_, Result<bool, BoxError>> {
        Box::pin(async move {
            let texts = &self.shared.texts;
            self.shared.sessions.execute(&texts.begin_own, texts.query(&texts.clean_up)).await?;
            match &self.shared.partitioned {
                Some(own) => Ok(partitioned::clean_up(self, own).await?),
                None => Ok(false),
            }
        })
    }
}
