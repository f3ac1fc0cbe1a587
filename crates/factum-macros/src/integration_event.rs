//! Integration events: the name on the wire is checked here, because after the first release it is a contract.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Data, DeriveInput, Error, Expr, LitStr, Member, Result};

const TYPE_BYTES_MAX: usize = 255;
const EXAMPLE: &str = r#"#[event(type = "com.example.shop.ordering.order-placed.v1", key = order)]"#;

/// What `#[event(..)]` says.
#[derive(Default)]
struct Said {
    r#type: Option<LitStr>,
    key: Option<Expr>,
    subject: Option<Expr>,
}

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Said { r#type, key, subject } = said(input)?;
    let name = &input.ident;
    let r#type = r#type.ok_or_else(|| {
        Error::new(name.span(), format!("`{name}` has no name on the wire: write `{EXAMPLE}` above it"))
    })?;
    check_type(&r#type.value()).map_err(|message| Error::new(r#type.span(), message))?;
    let key = key.map(|key| method("key", key, input)).transpose()?;
    let subject = subject.map(|subject| method("subject", subject, input)).transpose()?;
    let (generics, arguments, clause) = input.generics.split_for_impl();
    Ok(quote! {
        impl #generics ::factum::Event for #name #arguments #clause {
            type Kind = ::factum::Integration;
        }
        impl #generics ::factum::IntegrationEvent for #name #arguments #clause {
            const TYPE: &'static str = #r#type;
            #key
            #subject
        }
    })
}

fn said(input: &DeriveInput) -> Result<Said> {
    let mut said = Said::default();
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("event")) {
        attribute.parse_nested_meta(|meta| {
            let path = &meta.path;
            if path.is_ident("type") {
                once(&mut said.r#type, meta.value()?.parse()?, path)
            } else if path.is_ident("key") {
                once(&mut said.key, meta.value()?.parse()?, path)
            } else if path.is_ident("subject") {
                once(&mut said.subject, meta.value()?.parse()?, path)
            } else {
                Err(meta.error(format!("`#[event]` knows `type`, `key` and `subject`, as in `{EXAMPLE}`")))
            }
        })?;
    }
    Ok(said)
}

fn once<T>(slot: &mut Option<T>, value: T, path: &syn::Path) -> Result<()> {
    match slot.replace(value) {
        Some(_) => Err(Error::new(path.span(), "said twice")),
        None => Ok(()),
    }
}

fn method(method: &str, mut expression: Expr, input: &DeriveInput) -> Result<TokenStream> {
    from_self(method, &mut expression, input)?;
    let method = quote::format_ident!("{method}");
    let text = quote_spanned!(expression.span()=> ::std::string::ToString::to_string(&#expression));
    Ok(quote! {
        fn #method(&self) -> ::std::option::Option<::std::string::String> {
            ::std::option::Option::Some(#text)
        }
    })
}

/// `order` becomes `self.order`, and `customer.id()` becomes `self.customer.id()`.
fn from_self(method: &str, expression: &mut Expr, input: &DeriveInput) -> Result<()> {
    match expression {
        Expr::Field(of) => from_self(method, &mut of.base, input),
        Expr::MethodCall(of) => from_self(method, &mut of.receiver, input),
        Expr::Path(path) => match path.path.get_ident().filter(|ident| *ident != "self") {
            Some(ident) if has_field(input, ident) => {
                let ident = ident.clone();
                *expression = syn::parse_quote_spanned!(ident.span()=> self.#ident);
                Ok(())
            }
            Some(ident) => Err(Error::new(
                ident.span(),
                format!(
                    "`{}` has no field `{ident}`: `{method}` is a field, or an expression with `self`",
                    input.ident
                ),
            )),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn has_field(input: &DeriveInput, name: &proc_macro2::Ident) -> bool {
    match &input.data {
        Data::Struct(data) => {
            data.fields.members().any(|member| matches!(&member, Member::Named(of) if of == name))
        }
        _ => false,
    }
}

/// Refuses what is not `<reverse DNS>.<context>.<event>.v<n>`, and says which part is not.
fn check_type(name: &str) -> std::result::Result<(), String> {
    let wrong =
        |what: String| Err(format!("{what}: write it like \"com.example.shop.ordering.order-placed.v1\""));
    if name.len() > TYPE_BYTES_MAX {
        return wrong(format!("the type has {} bytes, the limit is {TYPE_BYTES_MAX}", name.len()));
    }
    if let Some(odd) = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '.')) {
        return wrong(format!("a type has lower-case letters, digits, `-` and `.`, not {odd:?}"));
    }
    let Some((before, version)) = name.rsplit_once('.').filter(|(_, last)| is_version(last)) else {
        return wrong("a type ends with its version, `.v1` for the first".into());
    };
    let parts: Vec<&str> = before.split('.').collect();
    if parts.iter().any(|part| part.is_empty() || part.starts_with('-') || part.ends_with('-')) {
        return wrong(
            "between two dots of a type is a word that begins and ends with a letter or a digit".into(),
        );
    }
    if parts.len() < 3 {
        return wrong(format!("before `.{version}` is your domain in reverse, the context and the event"));
    }
    Ok(())
}

/// One spelling a version: no leading zero.
fn is_version(part: &str) -> bool {
    let Some(number) = part.strip_prefix('v') else { return false };
    !number.is_empty() && !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit())
}
