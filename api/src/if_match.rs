//! `If-Match`: a change that is made only to the version its caller has seen. An endpoint takes [`IfMatch`], asks it with the version that is
//! stored, and answers with [`Tagged`]. This file may not know what a version is made of.

use salvo::extract::{Extractible, Metadata};
use salvo::http::header::{ETAG, HeaderValue, IF_MATCH};
use salvo::oapi::{Components, EndpointArgRegister, EndpointOutRegister, Object, Operation, Parameter, ParameterIn, Required};
use salvo::{Depot, Request, Response, Scribe};

use crate::problem::{Code, Problem};

/// The header of a request; `None` where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IfMatch(Option<String>);

impl IfMatch {
    /// Whether a change of this version is wanted (RFC 9110, 13.1.1: weak tags never match).
    pub fn allows(&self, version: &str) -> bool {
        let Some(text) = &self.0 else {
            return true;
        };
        text.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(version))
    }

    pub fn check(&self, version: &str) -> Result<(), Problem> {
        if self.allows(version) {
            return Ok(());
        }
        Err(Self::stale())
    }

    pub fn stale() -> Problem {
        Problem::new(Code::StaleRevision, "it was changed since you read it: read it again, then repeat the change with its new ETag")
    }
}

impl<'ex> Extractible<'ex> for IfMatch {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(req: &'ex mut Request, _depot: &'ex mut Depot) -> Result<Self, Problem> {
        let Some(value) = req.headers().get(IF_MATCH) else {
            return Ok(Self(None));
        };
        let text = value.to_str().map_err(|_| Problem::new(Code::InvalidRequest, "If-Match must be plain text"))?;
        Ok(Self(Some(text.to_owned())))
    }
}

impl EndpointArgRegister for IfMatch {
    fn register(_components: &mut Components, operation: &mut Operation, _arg: &str) {
        let parameter = Parameter::new("If-Match")
            .location(ParameterIn::Header)
            .required(Required::False)
            .description("The `ETag` of what you have read: it is changed only if it is still that, else 409 `stale_revision`")
            .schema(Object::with_type(salvo::oapi::BasicType::String));
        operation.parameters.insert(parameter);
    }
}

/// An answer with the version it shows as its `ETag`.
#[derive(Debug)]
pub struct Tagged<A> {
    pub answer: A,
    pub version: String,
}

impl<A: Scribe> Scribe for Tagged<A> {
    fn render(self, res: &mut Response) {
        if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", self.version)) {
            res.headers_mut().insert(ETAG, tag);
        }
        self.answer.render(res);
    }
}

impl<A: EndpointOutRegister> EndpointOutRegister for Tagged<A> {
    fn register(components: &mut Components, operation: &mut Operation) {
        A::register(components, operation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_that_was_seen_is_changed() {
        let allows = |header: Option<&str>| IfMatch(header.map(str::to_owned)).allows("v1");
        for header in [None, Some("*"), Some("\"v1\""), Some("\"v0\" , \"v1\"")] {
            assert!(allows(header), "{header:?}");
        }
        for header in ["\"v2\"", "v1", "W/\"v1\"", "", "\""] {
            assert!(!allows(Some(header)), "{header}");
        }
        assert_eq!(IfMatch(Some("\"v2\"".into())).check("v1").map_err(|problem| problem.code), Err(Code::StaleRevision));
    }
}
