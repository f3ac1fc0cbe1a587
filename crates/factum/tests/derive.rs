//! What the derives write, seen from outside. What they refuse is in `ui/`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::marker::PhantomData;

use factum::{
    AggregateRoot, Children, DomainEvent, DomainEvents, Entity, Event, Integration, IntegrationEvent, Records,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, DomainEvent)]
struct Noted(&'static str);

#[derive(Debug, PartialEq, DomainEvent)]
struct Renamed<T> {
    to: T,
}

#[derive(Entity)]
struct Line {
    id: u32,
    events: DomainEvents,
}

fn line(id: u32, what: &'static str) -> Line {
    let mut events = DomainEvents::new();
    events.record(Noted(what));
    Line { id, events }
}

/// The collections of events in the order in which they are visited, each by what was recorded in it.
fn visited(records: &mut impl Records) -> Vec<Vec<&'static str>> {
    let mut all = Vec::new();
    records.each_events(&mut |events| {
        all.push(events.recorded::<Noted>().iter().map(|noted| noted.0).collect());
    });
    all
}

#[test]
fn a_domain_event_has_the_name_of_its_type_without_path_and_arguments() {
    assert_eq!(Noted("x").name(), "Noted");
    assert_eq!(Renamed { to: String::from("y") }.name(), "Renamed");
}

#[test]
fn a_generic_domain_event_can_be_recorded() {
    let mut events = DomainEvents::new();
    events.record(Renamed { to: 7_u8 });
    assert_eq!(events.recorded::<Renamed<u8>>(), [&Renamed { to: 7 }]);
    assert!(events.recorded::<Renamed<u16>>().is_empty());
}

#[derive(AggregateRoot)]
struct Order {
    lines: Children<Line>,
    #[children]
    billing: Option<Line>,
    #[children]
    by_name: BTreeMap<String, Line>,
    id: u64,
    events: DomainEvents,
}

#[test]
fn an_aggregate_visits_itself_first_and_then_its_children_in_the_order_of_declaration() {
    let mut order = Order {
        lines: [line(1, "line 1"), line(2, "line 2")].into_iter().collect(),
        billing: Some(line(3, "billing")),
        by_name: [("a".to_owned(), line(4, "by name"))].into(),
        id: 7,
        events: DomainEvents::new(),
    };
    order.events.record(Noted("order"));

    assert_eq!(order.id(), &7);
    let recorded: Vec<_> = visited(&mut order).into_iter().filter(|of| !of.is_empty()).collect();
    assert_eq!(recorded, [["order"], ["line 1"], ["line 2"], ["billing"], ["by name"]]);
}

type Recorded = DomainEvents;

#[derive(Entity)]
struct Account {
    id: &'static str,
    #[id]
    iban: u64,
    #[events]
    history: Recorded,
}

#[test]
fn a_mark_says_which_field_is_the_identity_and_which_one_records() {
    let mut account = Account { id: "not this one", iban: 12, history: DomainEvents::new() };
    account.history.record(Noted("opened"));
    assert_eq!((account.id(), account.id), (&12, "not this one"));
    assert_eq!(visited(&mut account), [["opened"]]);
}

#[derive(Entity)]
struct Numbered(#[id] u16, DomainEvents);

#[test]
fn a_tuple_struct_is_an_entity_too() {
    let mut numbered = Numbered(3, DomainEvents::new());
    numbered.1.record(Noted("numbered"));
    assert_eq!(numbered.id(), &3);
    assert_eq!(visited(&mut numbered), [["numbered"]]);
}

#[derive(AggregateRoot)]
struct Basket {
    id: u8,
    lines: Children<Line>,
}

#[test]
fn an_aggregate_may_leave_the_recording_to_its_children() {
    let mut basket = Basket { id: 1, lines: Children::new() };
    basket.lines.add(line(1, "added"));
    drop(basket.lines.remove(&1));
    assert_eq!(basket.id(), &1);
    assert_eq!(visited(&mut basket), [["added"]]);
}

/// `Id<Basket>` names an aggregate and holds none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Id<A>(u32, PhantomData<fn() -> A>);

#[derive(AggregateRoot)]
struct Shelf<K: Clone + Debug + Eq + Hash + Send + Sync + 'static, T, const N: usize>
where
    T: Send,
{
    id: K,
    next_to: Option<Id<Basket>>,
    sizes: [usize; N],
    labels: HashMap<K, Vec<K>>,
    #[children]
    items: Vec<T>,
    events: DomainEvents,
}

#[test]
fn an_aggregate_may_be_generic() {
    fn is_root<A: AggregateRoot>(_: &A) {}
    let mut shelf = Shelf {
        id: "left".to_owned(),
        next_to: Some(Id(1, PhantomData)),
        sizes: [1],
        labels: HashMap::from([("left".to_owned(), vec![])]),
        items: vec![line(1, "put")],
        events: DomainEvents::new(),
    };
    is_root(&shelf);
    assert_eq!(shelf.id(), "left");
    assert_eq!((shelf.next_to.as_ref().map(|id| id.0), shelf.sizes, shelf.labels.len()), (Some(1), [1], 1));
    assert_eq!(visited(&mut shelf), [vec![], vec!["put"]]);
}

#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.ordering.order-placed.v1", key = order)]
struct OrderPlacedV1 {
    order: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Customer {
    number: u32,
}

impl Customer {
    fn id(&self) -> impl Display + use<> {
        format!("c-{}", self.number)
    }
}

#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.crm.moved.v12", key = customer.id())]
#[event(subject = format!("{}/{}", self.customer.number, self.street))]
struct MovedV12 {
    customer: Customer,
    street: String,
}

#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.tick.v1")]
enum TickV1 {
    Tick,
}

#[test]
fn an_integration_event_has_its_type_its_key_and_the_key_as_its_subject() {
    fn type_of<E: IntegrationEvent + Event<Kind = Integration>>(_: &E) -> &'static str {
        E::TYPE
    }
    let placed = OrderPlacedV1 { order: 7 };
    assert_eq!(type_of(&placed), "com.example.shop.ordering.order-placed.v1");
    assert_eq!((placed.key().as_deref(), placed.subject().as_deref()), (Some("7"), Some("7")));
}

#[test]
fn a_key_may_be_an_expression_and_the_subject_another() {
    let moved = MovedV12 { customer: Customer { number: 5 }, street: "Elm".into() };
    assert_eq!((moved.key().as_deref(), moved.subject().as_deref()), (Some("c-5"), Some("5/Elm")));
}

#[test]
fn an_integration_event_needs_no_key() {
    assert_eq!((TickV1::Tick.key(), TickV1::Tick.subject()), (None, None));
    assert_eq!(TickV1::TYPE, "com.example.tick.v1");
}
