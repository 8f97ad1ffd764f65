//! What a key may give to a key it makes: scopes, limits and an end that it has itself, and never more. Pure.

use std::collections::BTreeMap;

use crate::problem::{Code, FieldProblem, Problem};
use crate::scopes::{Grants, Scope};
use crate::wire::time::rfc3339;

/// What is asked for; `None` where nothing was said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wish {
    pub scopes: Option<Vec<Scope>>,
    pub limits_per_minute: BTreeMap<Scope, u32>,
    pub expires_at_ms: Option<i64>,
}

/// Rights and their end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    pub grants: Grants,
    pub expires_at_ms: Option<i64>,
}

/// One thing that was asked for and that the holder does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exceeds {
    Scope(Scope),
    Limit { scope: Scope, asked: u32, own: u32 },
    Expiry { own_ms: i64 },
}

/// What the new key gets: what is not said is the holder's own, limits at most the documented default.
pub fn attenuate(holder: &Rights, wish: &Wish) -> Result<Rights, Vec<Exceeds>> {
    let scopes = wish.scopes.clone().unwrap_or_else(|| holder.grants.scopes());
    let mut exceeds = Vec::new();
    let mut limits = BTreeMap::new();
    for scope in scopes {
        let Some(own) = holder.grants.limit_per_minute(scope) else {
            exceeds.push(Exceeds::Scope(scope));
            continue;
        };
        let asked = wish.limits_per_minute.get(&scope).copied();
        match asked {
            Some(asked) if asked > own => exceeds.push(Exceeds::Limit { scope, asked, own }),
            _ => {
                limits.insert(scope, asked.unwrap_or_else(|| scope.default_limit_per_minute().min(own)));
            }
        }
    }
    let expires_at_ms = match (wish.expires_at_ms, holder.expires_at_ms) {
        (Some(asked_ms), Some(own_ms)) if asked_ms > own_ms => {
            exceeds.push(Exceeds::Expiry { own_ms });
            None
        }
        (asked_ms, own_ms) => asked_ms.or(own_ms),
    };
    if exceeds.is_empty() { Ok(Rights { grants: Grants::of_limits(limits), expires_at_ms }) } else { Err(exceeds) }
}

/// What two keys both grant: the rights of a key under another one.
pub fn common(own: &Rights, above: &Rights) -> Rights {
    let both = own.grants.scopes().into_iter().filter_map(|scope| {
        let limit = own.grants.limit_per_minute(scope)?.min(above.grants.limit_per_minute(scope)?);
        Some((scope, limit))
    });
    let ends = [own.expires_at_ms, above.expires_at_ms];
    Rights { grants: Grants::of_limits(both.collect()), expires_at_ms: ends.into_iter().flatten().min() }
}

impl From<Vec<Exceeds>> for Problem {
    fn from(exceeds: Vec<Exceeds>) -> Self {
        let errors: Vec<FieldProblem> = exceeds
            .iter()
            .map(|one| match one {
                Exceeds::Scope(scope) => FieldProblem::new("scopes", format!("your key does not have {scope}")),
                Exceeds::Limit { scope, asked, own } => {
                    FieldProblem::new(format!("rate_limits.{scope}"), format!("{asked} is more than the {own} of your key"))
                }
                Exceeds::Expiry { own_ms } => FieldProblem::new("expires_at", format!("your key itself ends at {}", rfc3339(*own_ms))),
            })
            .collect();
        let said: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
        Self { errors, ..Self::new(Code::GrantExceedsCaller, said.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn set(bits: u8) -> Vec<Scope> {
        Scope::ALL.into_iter().enumerate().filter(|(place, _)| bits & (1 << place) != 0).map(|(_, scope)| scope).collect()
    }

    fn rights(bits: u8, limit: u32, expires_at_ms: Option<i64>) -> Rights {
        Rights { grants: Grants::of_limits(set(bits).into_iter().map(|scope| (scope, limit)).collect()), expires_at_ms }
    }

    /// Whether everything of `small` is in `large`.
    fn within(small: &Rights, large: &Rights) -> bool {
        let limits =
            small.grants.scopes().into_iter().all(|scope| small.grants.limit_per_minute(scope) <= large.grants.limit_per_minute(scope));
        let end = match (small.expires_at_ms, large.expires_at_ms) {
            (_, None) => true,
            (Some(small_ms), Some(large_ms)) => small_ms <= large_ms,
            (None, Some(_)) => false,
        };
        limits && end
    }

    /// All 256 sets of scopes against all 256 that can be asked for.
    #[test]
    fn rights_never_grow_over_all_scope_sets() {
        let mut granted = 0;
        for held in 0..=u8::MAX {
            let holder = rights(held, 7, Some(100));
            for asked in 0..=u8::MAX {
                let wish = Wish { scopes: Some(set(asked)), ..Wish::default() };
                match attenuate(&holder, &wish) {
                    Ok(child) => {
                        assert_eq!(asked & !held, 0);
                        assert_eq!(child.grants.scopes(), set(asked));
                        assert!(within(&child, &holder));
                        granted += 1;
                    }
                    Err(exceeds) => {
                        let missing: Vec<Exceeds> = set(asked & !held).into_iter().map(Exceeds::Scope).collect();
                        assert_eq!(exceeds, missing);
                        assert!(!missing.is_empty());
                    }
                }
            }
        }
        // Pairs of a set and one of its subsets: 3^8.
        assert_eq!(granted, 6_561);
    }

    #[test]
    fn what_is_not_said_is_the_holders_own() {
        let child = attenuate(&rights(0b101, 1_000, Some(5)), &Wish::default()).unwrap();
        assert_eq!(child.expires_at_ms, Some(5));
        assert_eq!(child.grants.limit_per_minute(Scope::TtsGenerate), Some(10));
        let child = attenuate(&rights(0b101, 3, None), &Wish::default()).unwrap();
        assert_eq!((child.grants.limit_per_minute(Scope::TtsGenerate), child.expires_at_ms), (Some(3), None));
    }

    #[test]
    fn the_refusal_names_all_that_is_too_much() {
        let wish = Wish {
            scopes: Some(vec![Scope::TtsGenerate, Scope::CloneCreate]),
            limits_per_minute: BTreeMap::from([(Scope::TtsGenerate, 11)]),
            expires_at_ms: Some(6),
        };
        let problem = Problem::from(attenuate(&rights(1, 10, Some(5)), &wish).unwrap_err());
        assert_eq!(problem.code, Code::GrantExceedsCaller);
        for part in ["clone:create", "rate_limits.tts:generate: 11 is more than the 10", "expires_at"] {
            assert!(problem.detail.contains(part), "{}", problem.detail);
        }
    }

    proptest! {
        /// A chain of any wishes: each key is within the one above it, and so within all, and what a chain has in common is its last key.
        #[test]
        fn chains_never_grow(
            root in (any::<u8>(), 1_u32..50, proptest::option::of(0_i64..1_000)),
            wishes in proptest::collection::vec(
                (proptest::option::of(any::<u8>()), proptest::collection::vec(0_u32..60, 8), any::<u8>(), proptest::option::of(0_i64..1_200)),
                1..6
            ),
        ) {
            let mut chain = vec![rights(root.0, root.1, root.2)];
            for (scopes, limits, limited, expires_at_ms) in wishes {
                let limits_per_minute = set(limited).into_iter().zip(limits).collect();
                let wish = Wish { scopes: scopes.map(set), limits_per_minute, expires_at_ms };
                let holder = chain.last().unwrap();
                if let Ok(child) = attenuate(holder, &wish) {
                    prop_assert!(chain.iter().all(|above| within(&child, above)));
                    let shared = chain.iter().fold(child.clone(), |own, above| common(&own, above));
                    prop_assert_eq!(&shared, &child);
                    chain.push(child);
                }
            }
        }

        /// Whatever rows say, a key under another one never has more than both.
        #[test]
        fn common_rights_are_within_both(a in (any::<u8>(), 0_u32..9, proptest::option::of(0_i64..9)), b in (any::<u8>(), 0_u32..9, proptest::option::of(0_i64..9))) {
            let (a, b) = (rights(a.0, a.1, a.2), rights(b.0, b.1, b.2));
            let both = common(&a, &b);
            prop_assert!(within(&both, &a) && within(&both, &b));
        }
    }
}
