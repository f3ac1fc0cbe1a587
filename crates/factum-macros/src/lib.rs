//! Derives.
use proc_macro::TokenStream;
/// x
#[proc_macro_derive(Entity, attributes(children, events, entity))]
pub fn entity(_: TokenStream) -> TokenStream {
    TokenStream::new()
}
/// x
#[proc_macro_derive(AggregateRoot, attributes(children, events, entity))]
pub fn root(_: TokenStream) -> TokenStream {
    TokenStream::new()
}
/// x
#[proc_macro_derive(DomainEvent)]
pub fn dev(_: TokenStream) -> TokenStream {
    TokenStream::new()
}
/// x
#[proc_macro_derive(IntegrationEvent, attributes(event))]
pub fn iev(_: TokenStream) -> TokenStream {
    TokenStream::new()
}
