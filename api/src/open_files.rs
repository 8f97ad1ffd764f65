//! How many files and sockets this process may have open: each subscriber is one, and the usual limit of 1,024 is meant for programs that
//! use `select`. Raised to what the system allows this user, once, at the start.

/// The limit after raising; `None` where it is not known.
#[cfg(unix)]
pub fn raise_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files was not raised");
            limit.current
        }
    }
}

/// The limit after raising; `None` where it is not known.
#[cfg(not(unix))]
pub fn raise_limit() -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::process::{Resource, getrlimit};

    #[test]
    fn the_limit_is_what_the_system_allows() {
        let raised = super::raise_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!((limit.current, raised), (limit.maximum, limit.current));
    }
}
