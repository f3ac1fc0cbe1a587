//! No handler of ordering relies on the order of handlers: in every order, the same comes of the same commands.

use factum::memory::MemoryStore;
use factum::{BoxError, Work};
use factum_testkit::World;
use shop::kernel::{Date, Money};
use shop::ordering;
use shop::ordering::application::{PlaceOrder, place_order};
use shop::ordering::domain::{Buyer, BuyerId, LineItem};
use shop::ordering::published::OrderPlacedV1;
use shop::purchases::Purchases;

/// Enough for two buyers at least, of whom one buys twice.
const PURCHASES: usize = 6;
const SEEDS: u64 = 8;

fn commands() -> Vec<PlaceOrder> {
    let purchases = Purchases::built_in().take(PURCHASES).map(|purchase| purchase.unwrap());
    purchases
        .map(|it| PlaceOrder {
            order: it.id.into(),
            buyer: BuyerId(it.customer),
            date: it.date,
            lines: vec![LineItem {
                shelf: it.shelf().into(),
                quantity: it.cds,
                amount: Money::from_cents(it.amount_cents),
            }],
        })
        .collect()
}

/// Each buyer as the database knows it.
async fn buyers(ordering: &Work<MemoryStore>) -> Result<Vec<(u64, Date, u64)>, BoxError> {
    let mut uow = ordering.read().await?;
    let mut ids: Vec<_> = commands().iter().map(|command| command.buyer).collect();
    ids.dedup();
    let mut found = Vec::new();
    for id in ids {
        let buyer = uow.load::<Buyer>(&id).await?;
        found.push((id.0, uow[buyer].since(), uow[buyer].orders_verified()));
    }
    uow.roll_back().await;
    Ok(found)
}

/// What ordering announces and what it knows of its buyers, after all commands; and the order of its handlers.
async fn outcome(mut world: World) -> Result<(Vec<OrderPlacedV1>, Vec<(u64, Date, u64)>, String), BoxError> {
    let ordering = world.service("https://shop.example.com/ordering", ordering::dispatcher(), []).await;
    for command in commands() {
        ordering.run(async |uow| place_order(command, uow).await).await?;
    }
    world.quiet().await;
    world.assert_no_failures();
    let handlers = format!("{:?}", ordering.dispatcher());
    Ok((world.story().announced(), buyers(&ordering).await?, handlers))
}

#[tokio::test]
async fn handlers_do_not_rely_on_their_order() {
    let (announced, buyers, registered) = outcome(World::new()).await.unwrap();
    assert_eq!(announced.len(), PURCHASES);
    assert!((2..PURCHASES).contains(&buyers.len()), "{buyers:?}");
    let mut reordered = 0;
    for seed in 0..SEEDS {
        let (told, known, handlers) = outcome(World::new().shuffled(seed)).await.unwrap();
        assert_eq!((&told, &known), (&announced, &buyers), "seed {seed}: {handlers}");
        reordered += u64::from(handlers != registered);
    }
    assert!(reordered > 0, "no seed changed the order: {registered}");
}
