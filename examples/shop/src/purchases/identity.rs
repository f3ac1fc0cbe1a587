//! Who is who among purchases that look alike.
//!
//! A purchase *is* its content and the how-manieth of that content it is. So lines that repeat stay separate
//! purchases, and a line that is inserted, moved or removed elsewhere changes no other identity: a corrected
//! file goes on where the bad one stopped. Line numbers are refused as identity for that reason.

use std::collections::HashMap;

use uuid::{Uuid, uuid};

use super::Date;

/// The namespace of purchase ids. Never change it: every database that exists was written with it.
const PURCHASES: Uuid = uuid!("8c0a54f1-6b0e-4d35-9a3f-2f1f6c1f7f0e");

/// What a line says, without its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Content {
    pub(super) customer: u64,
    pub(super) date: Date,
    pub(super) cds: u32,
    pub(super) amount_cents: i64,
}

/// Counts contents as they pass. It holds one entry for each distinct content: some 50 bytes a purchase.
#[derive(Default)]
pub(super) struct Identities {
    seen: HashMap<Content, u64>,
}

impl Identities {
    /// The identity of the next purchase with this content.
    pub(super) fn next(&mut self, content: &Content) -> Uuid {
        let occurrence = self.seen.entry(*content).or_insert(0);
        *occurrence += 1;
        identity(content, *occurrence)
    }
}

/// The UUIDv5 of a readable name, so that any other program can work it out too.
fn identity(content: &Content, occurrence: u64) -> Uuid {
    let Content { customer, date, cds, amount_cents } = content;
    let name = format!("{customer} {date} {cds} {amount_cents} {occurrence}");
    Uuid::new_v5(&PURCHASES, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(customer: u64) -> Content {
        Content { customer, date: Date::new(1997, 1, 1).unwrap(), cds: 1, amount_cents: 1_177 }
    }

    fn identities(customers: &[u64]) -> Vec<Uuid> {
        let mut identities = Identities::default();
        customers.iter().map(|customer| identities.next(&content(*customer))).collect()
    }

    #[test]
    fn an_identity_is_the_same_in_every_release() {
        // Worked out by another program: uuid5(namespace, "1 1997-01-01 1 1177 1").
        assert_eq!(identities(&[1])[0], uuid!("415aa15a-6894-56ab-ba51-0a0095ca4e8c"));
    }

    #[test]
    fn repeated_contents_are_separate() {
        let ids = identities(&[1, 1, 1]);
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    }

    #[test]
    fn a_line_inserted_above_changes_no_other_identity() {
        assert_eq!(identities(&[9, 1, 1, 2])[1..], identities(&[1, 1, 2]));
    }

    #[test]
    fn a_copy_inserted_above_adds_one_identity_and_keeps_the_others() {
        let before = identities(&[1, 1, 2]);
        let after = identities(&[1, 1, 1, 2]);
        assert!(before.iter().all(|id| after.contains(id)));
        assert_eq!(after.len(), before.len() + 1);
    }

    #[test]
    fn every_part_of_the_content_matters() {
        let base = content(1);
        let others = [
            Content { customer: 2, ..base },
            Content { date: Date::new(1997, 1, 2).unwrap(), ..base },
            Content { cds: 2, ..base },
            Content { amount_cents: 1_178, ..base },
        ];
        assert!(others.iter().all(|other| identity(other, 1) != identity(&base, 1)));
    }
}
