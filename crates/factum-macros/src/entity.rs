//! Entities and aggregate roots: which field is the identity, and which fields hold recorded events.
//!
//! A field that holds entities must not be skipped in silence, and a macro sees no types. So every field that is not
//! visited is asked, where the compiler knows its type, whether it holds recorded events.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Data, DeriveInput, Error, Field, Generics, Index, Member, Result, Type};

use crate::unmarked;

/// The fields of an entity, by what they are to it.
struct Entity<'a> {
    input: &'a DeriveInput,
    id: (Member, &'a Type),
    /// In the order in which they are visited.
    visited: Vec<(Member, &'a Type)>,
    others: Vec<(Member, &'a Type)>,
}

pub(crate) fn child(input: &DeriveInput) -> Result<TokenStream> {
    let entity = Entity::of(input)?;
    Ok([entity.entity(), entity.records(), entity.checks()].into_iter().collect())
}

pub(crate) fn root(input: &DeriveInput) -> Result<TokenStream> {
    let entity = Entity::of(input)?;
    let name = &input.ident;
    let generics = entity.generics();
    let (generics, arguments, clause) = generics.split_for_impl();
    let root = quote!(impl #generics ::factum::AggregateRoot for #name #arguments #clause {});
    Ok([entity.entity(), entity.records(), root, entity.checks()].into_iter().collect())
}

impl<'a> Entity<'a> {
    fn of(input: &'a DeriveInput) -> Result<Self> {
        let Data::Struct(data) = &input.data else {
            return Err(Error::new(
                input.ident.span(),
                "an entity is a struct: keep what varies in a field of it, an enum",
            ));
        };
        let fields: Vec<(Member, &Field)> = data.fields.iter().enumerate().map(numbered).collect();
        let id = id_of(input, &fields)?;
        let events = events_of(&fields)?;
        let is_events = |member: &Member| events.as_ref().is_some_and(|(events, _)| events == member);
        let (children, others): (Vec<_>, Vec<_>) =
            fields.iter().filter(|(member, _)| !is_events(member)).partition(|(_, field)| is_children(field));
        if events.is_none() && children.is_empty() {
            return Err(no_events(input));
        }
        let typed = |(member, field): &(Member, &'a Field)| (member.clone(), &field.ty);
        Ok(Self {
            input,
            id,
            visited: events.iter().cloned().chain(children.into_iter().map(typed)).collect(),
            others: others.into_iter().map(typed).collect(),
        })
    }

    fn entity(&self) -> TokenStream {
        let name = &self.input.ident;
        let (generics, arguments, clause) = self.input.generics.split_for_impl();
        let (id, ty) = &self.id;
        quote! {
            impl #generics ::factum::Entity for #name #arguments #clause {
                type Id = #ty;
                fn id(&self) -> &Self::Id {
                    &self.#id
                }
            }
        }
    }

    fn records(&self) -> TokenStream {
        let name = &self.input.ident;
        let generics = self.generics();
        let (generics, arguments, clause) = generics.split_for_impl();
        // With the span of the type, so that a type that holds no events is underlined itself.
        let visits = self.visited.iter().map(|(member, ty)| {
            quote_spanned!(ty.span()=> ::factum::Records::each_events(&mut self.#member, visit);)
        });
        quote! {
            impl #generics ::factum::Records for #name #arguments #clause {
                fn each_events(&mut self, visit: &mut ::factum::Visit<'_>) {
                    #(#visits)*
                }
            }
        }
    }

    /// `Children<Line<K>>` records if `Line<K>` does: for the author of the struct to say, or for this.
    fn generics(&self) -> Generics {
        let mut generics = self.input.generics.clone();
        for (_, ty) in &self.visited {
            if unmarked::mentions(ty, &self.input.generics) {
                let bound = syn::parse_quote!(#ty: ::factum::Records);
                generics.make_where_clause().predicates.push(bound);
            }
        }
        generics
    }

    fn checks(&self) -> TokenStream {
        self.others
            .iter()
            .map(|(member, ty)| {
                let field = match member {
                    Member::Named(name) => name.clone(),
                    Member::Unnamed(index) => format_ident!("{}", format!("field_{}", index.index)),
                };
                unmarked::check(self.input, &field, ty)
            })
            .collect()
    }
}

fn numbered((index, field): (usize, &Field)) -> (Member, &Field) {
    let member = match &field.ident {
        Some(name) => Member::Named(name.clone()),
        None => Member::Unnamed(Index { index: index as u32, span: field.span() }),
    };
    (member, field)
}

fn id_of<'a>(input: &DeriveInput, fields: &[(Member, &'a Field)]) -> Result<(Member, &'a Type)> {
    let named = |member: &Member| matches!(member, Member::Named(name) if name == "id");
    let marked = only_one(fields, "id", "an entity has one identity: make it one type")?;
    let found = marked.or_else(|| fields.iter().find(|(member, _)| named(member)).cloned());
    found.map(|(member, field)| (member, &field.ty)).ok_or_else(|| {
        let name = &input.ident;
        let message = format!(
            "`{name}` has no identity: name a field `id`, or mark one with `#[id]`\n\
             (what has none is a value object, and derives nothing)"
        );
        Error::new(name.span(), message)
    })
}

fn events_of<'a>(fields: &[(Member, &'a Field)]) -> Result<Option<(Member, &'a Type)>> {
    const ONE: &str = "an entity records in one collection";
    let found = match only_one(fields, "events", ONE)? {
        Some(marked) => Some(marked),
        None => {
            let mut typed = fields.iter().filter(|(_, field)| last_segment_is(&field.ty, "DomainEvents"));
            let first = typed.next().cloned();
            if let Some((second, _)) = typed.next() {
                return Err(Error::new(second.span(), format!("a second field is `DomainEvents`: {ONE}")));
            }
            first
        }
    };
    Ok(found.map(|(member, field)| (member, &field.ty)))
}

fn only_one<'a>(
    fields: &[(Member, &'a Field)],
    mark: &str,
    otherwise: &str,
) -> Result<Option<(Member, &'a Field)>> {
    let mut marked = fields.iter().filter(|(_, field)| is_marked(field, mark));
    let first = marked.next().cloned();
    match marked.next() {
        Some((second, _)) => {
            Err(Error::new(second.span(), format!("a second field is marked `#[{mark}]`: {otherwise}")))
        }
        None => Ok(first),
    }
}

fn is_children(field: &Field) -> bool {
    is_marked(field, "children") || last_segment_is(&field.ty, "Children")
}

fn is_marked(field: &Field, mark: &str) -> bool {
    field.attrs.iter().any(|attribute| attribute.path().is_ident(mark))
}

fn last_segment_is(ty: &Type, name: &str) -> bool {
    match ty {
        Type::Path(path) => path.path.segments.last().is_some_and(|segment| segment.ident == name),
        _ => false,
    }
}

fn no_events(input: &DeriveInput) -> Error {
    let name = &input.ident;
    let message = format!(
        "`{name}` has nowhere to record: add the field `events: DomainEvents`\n\
         (or mark yours with `#[events]`, or the field that holds its child entities with `#[children]`)"
    );
    Error::new(name.span(), message)
}
