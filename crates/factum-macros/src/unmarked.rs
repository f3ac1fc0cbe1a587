//! The check that a field which is not visited holds no entities.
//!
//! It asks about the field's type and, within the containers of the standard library, about what they contain: a
//! `HashMap` of entities holds recorded events, too. It does not ask about other types' arguments, because an
//! `Id<Order>` holds no order.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{DeriveInput, GenericArgument, GenericParam, Generics, PathArguments, Type};

const CONTAINERS: [&str; 17] = [
    "Arc",
    "BTreeMap",
    "BTreeSet",
    "BinaryHeap",
    "Box",
    "Cell",
    "Cow",
    "HashMap",
    "HashSet",
    "LinkedList",
    "Mutex",
    "Option",
    "Rc",
    "RefCell",
    "RwLock",
    "Vec",
    "VecDeque",
];

/// Code that does not compile if the field holds entities.
pub(crate) fn check(input: &DeriveInput, field: &Ident, ty: &Type) -> TokenStream {
    let mut parts = Vec::new();
    collect_parts(ty, &mut parts);
    parts
        .into_iter()
        .map(|part| match mentions(part, &input.generics) {
            true => check_generic(&input.generics, part),
            false => check_concrete(&input.ident, field, part),
        })
        .collect()
}

/// Whether a type is built with a type parameter, a lifetime or a constant of the struct's.
pub(crate) fn mentions(ty: &Type, generics: &Generics) -> bool {
    let names: Vec<&Ident> = generics
        .params
        .iter()
        .map(|param| match param {
            GenericParam::Type(param) => &param.ident,
            GenericParam::Const(param) => &param.ident,
            GenericParam::Lifetime(param) => &param.lifetime.ident,
        })
        .collect();
    has_any(ty.to_token_stream(), &names)
}

fn has_any(tokens: TokenStream, names: &[&Ident]) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => names.contains(&&ident),
        TokenTree::Group(group) => has_any(group.stream(), names),
        _ => false,
    })
}

/// An associated constant of the type itself comes before one of a trait: so the answer is known to a constant, and the
/// message can be ours.
fn check_concrete(entity: &Ident, field: &Ident, ty: &Type) -> TokenStream {
    let shown = ty.to_token_stream().to_string().replace(" < ", "<").replace(" >", ">");
    let message = format!(
        "field `{field}` of `{entity}` holds entities (`{shown}`), whose events would be left behind: mark it \
         `#[children]`"
    );
    quote_spanned! {ty.span()=>
        const _: () = {
            #[allow(unused_imports)]
            use ::factum::domain::unmarked::{Field, Otherwise as _};
            ::std::assert!(!Field::<#ty>::HOLDS_RECORDED_EVENTS, #message);
        };
    }
}

/// A type that is not known yet has no constants: here the compiler is left with two answers if it holds entities.
fn check_generic(generics: &Generics, ty: &Type) -> TokenStream {
    let (declared, _, clause) = generics.split_for_impl();
    let check = quote_spanned!(ty.span()=> <#ty as ::factum::domain::unmarked::MarkItChildren<_>>::check(););
    quote! {
        const _: () = {
            #[allow(dead_code)]
            fn check #declared () #clause {
                #check
            }
        };
    }
}

fn collect_parts<'a>(ty: &'a Type, parts: &mut Vec<&'a Type>) {
    match ty {
        Type::Array(array) => collect_parts(&array.elem, parts),
        Type::Slice(slice) => collect_parts(&slice.elem, parts),
        Type::Paren(inner) => collect_parts(&inner.elem, parts),
        Type::Group(inner) => collect_parts(&inner.elem, parts),
        Type::Tuple(tuple) => tuple.elems.iter().for_each(|elem| collect_parts(elem, parts)),
        Type::Path(path) => {
            let within =
                path.path.segments.last().filter(|last| CONTAINERS.iter().any(|name| last.ident == name));
            match within.map(|last| &last.arguments) {
                Some(PathArguments::AngleBracketed(arguments)) => {
                    let types = arguments.args.iter().filter_map(|argument| match argument {
                        GenericArgument::Type(ty) => Some(ty),
                        _ => None,
                    });
                    types.for_each(|ty| collect_parts(ty, parts));
                }
                _ => parts.push(ty),
            }
        }
        _ => {}
    }
}
