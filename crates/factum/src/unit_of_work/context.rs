//! In whose name, and in which conversation, a unit of work announces.

use std::sync::Arc;

use crate::integration::Source;
use crate::{Envelope, EventId};

/// In whose name, and in which conversation, a unit of work announces. What it holds goes into every envelope.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Context {
    /// The service's absolute URI.
    pub source: Source,
    /// The conversation; where it is `None`, an event that no other caused begins one with its own id.
    pub correlationid: Option<Arc<str>>,
    /// The event that led to this.
    pub causationid: Option<EventId>,
    /// W3C Trace Context.
    pub traceparent: Option<Arc<str>>,
    /// W3C Trace Context.
    pub tracestate: Option<Arc<str>>,
    /// Who it is for; travels as the extension attribute `tenant`.
    pub tenant: Option<Arc<str>>,
    /// Whom to name to those who wait for a writer that this holds.
    pub who: Arc<str>,
}

impl Context {
    /// A context that only knows the service's absolute URI.
    pub fn of(source: impl Into<Source>) -> Self {
        let source = source.into();
        Self {
            who: source.as_str().into(),
            source,
            correlationid: None,
            causationid: None,
            traceparent: None,
            tracestate: None,
            tenant: None,
        }
    }

    /// Joins a conversation.
    #[must_use]
    pub fn correlation(mut self, id: impl Into<Arc<str>>) -> Self {
        self.correlationid = Some(id.into());
        self
    }

    /// Joins a trace (W3C `traceparent`).
    #[must_use]
    pub fn trace(mut self, traceparent: impl Into<Arc<str>>) -> Self {
        self.traceparent = Some(traceparent.into());
        self
    }

    /// Says for whom.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<Arc<str>>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Says whom to name to those who wait for the writer.
    #[must_use]
    pub fn who(mut self, who: impl Into<Arc<str>>) -> Self {
        self.who = who.into();
        self
    }

    /// The context in which a delivery is handled: its conversation goes on, in this service's name.
    pub(crate) fn caused_by(&self, envelope: &Envelope) -> Self {
        let tenant = envelope.extensions.get("tenant").cloned();
        Self {
            source: self.source.clone(),
            who: Arc::clone(&self.who),
            correlationid: envelope.correlationid.clone().or_else(|| Some(envelope.id.as_str().into())),
            causationid: Some(envelope.id.clone()),
            traceparent: envelope.traceparent.clone(),
            tracestate: envelope.tracestate.clone(),
            tenant: tenant.or_else(|| self.tenant.clone()),
        }
    }

    /// Writes it on an envelope.
    pub(crate) fn stamp(&self, envelope: &mut Envelope) {
        envelope.correlationid = self.correlationid.clone().or_else(|| Some(envelope.id.as_str().into()));
        envelope.causationid.clone_from(&self.causationid);
        envelope.traceparent.clone_from(&self.traceparent);
        envelope.tracestate.clone_from(&self.tracestate);
        if let Some(tenant) = &self.tenant {
            envelope.extensions.insert("tenant".into(), Arc::clone(tenant));
        }
    }
}
