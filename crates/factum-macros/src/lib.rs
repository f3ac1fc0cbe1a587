//! The derives of factum: what a person could have typed in five lines, and would get wrong on a bad day.
//!
//! They write impls of public traits and nothing else: no hidden types, no registration. What they cannot know they
//! refuse, with a message that says what to write.

mod entity;
mod integration_event;
mod unmarked;

use proc_macro::TokenStream;
use quote::quote;
use syn::{DeriveInput, parse_macro_input};

/// Makes a type a domain event: `impl DomainEvent for OrderPlaced {}`. It has to be `Debug`, too.
#[proc_macro_derive(DomainEvent)]
pub fn domain_event(input: TokenStream) -> TokenStream {
    let mut input = parse_macro_input!(input as DeriveInput);
    if input.generics.type_params().next().is_some() {
        let bounds = syn::parse_quote!(Self: ::std::fmt::Debug + Send + Sync + 'static);
        input.generics.make_where_clause().predicates.push(bounds);
    }
    let name = &input.ident;
    let (generics, arguments, clause) = input.generics.split_for_impl();
    quote!(impl #generics ::factum::DomainEvent for #name #arguments #clause {}).into()
}

/// Makes a struct a child entity: `Entity` and `Records`.
///
/// - The identity is the field marked `#[id]`, or the one named `id`.
/// - The recorded events are the field of type `DomainEvents`, or the one marked `#[events]`.
/// - Fields of type `Children<_>` and those marked `#[children]` are visited after it, in the order of declaration.
///
/// A field that holds entities and is not marked is an error: its events would be left behind.
///
/// An aggregate root derives [`AggregateRoot`](macro@AggregateRoot) instead, not as well: that derive contains this one.
#[proc_macro_derive(Entity, attributes(id, events, children))]
pub fn entity(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    entity::child(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a struct an aggregate root: `Entity`, `Records` and `AggregateRoot`, by the rules of
/// [`Entity`](macro@Entity).
#[proc_macro_derive(AggregateRoot, attributes(id, events, children))]
pub fn aggregate_root(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    entity::root(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a type an integration event: its kind, its CloudEvents `type`, its key and its subject.
///
/// ```text
/// #[derive(Serialize, Deserialize, IntegrationEvent)]
/// #[event(type = "com.example.shop.ordering.order-placed.v1", key = order)]
/// struct OrderPlacedV1 { order: OrderId, total_cents: i64 }
/// ```
///
/// - `type` is `<reverse DNS>.<context>.<event>.v<n>`, in lower-case letters, digits, `-` and `.`, at most 255 bytes.
/// - `key` is a field (`key = order`), something of a field (`key = customer.id`, `key = customer.id()`) or any
///   expression with `self`. It has to be `Display`. Without it, the event has no order among others.
/// - `subject` is written like `key`, and is the key where it is absent.
///
/// A key that is there only sometimes is more than five lines: implement `IntegrationEvent` by hand.
#[proc_macro_derive(IntegrationEvent, attributes(event))]
pub fn integration_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    integration_event::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
