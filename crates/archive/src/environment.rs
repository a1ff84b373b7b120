//! The environment variables that may differ between two containers of one template.
//!
//! The runtime sets `HOSTNAME` to the name of the pod. The kubelet adds variables for each Service of the namespace that existed
//! when the container started (Kubernetes, `pkg/kubelet/envvars/envvars.go`).

use std::collections::HashSet;

const HOSTNAME: &str = "HOSTNAME";
const HOST: &str = "_SERVICE_HOST";
const PORT: &str = "_SERVICE_PORT";

/// The longest name of a Service (RFC 1035 label). Longer prefixes are not looked up: a name may contain a great many of them.
const LONGEST_SERVICE: usize = 63;

/// The variables of one environment that do not matter.
pub(crate) struct Ignored<'a> {
    named: &'a [&'a str],
    /// The prefixes of Services: the kubelet sets both the host and the port. A variable of the application that only looks
    /// like one of the two is not ignored.
    services: HashSet<&'a str>,
}

impl<'a> Ignored<'a> {
    /// Of an environment of `NAME=VALUE`. The variables in `named` are ignored too.
    pub(crate) fn new(env: &'a [String], named: &'a [&'a str]) -> Self {
        let prefixes = |end: &'static str| env.iter().filter_map(move |variable| name_of(variable).strip_suffix(end));
        let hosts: HashSet<&str> = prefixes(HOST).collect();
        let services = prefixes(PORT).filter(|prefix| hosts.contains(prefix)).collect();
        Self { named, services }
    }

    pub(crate) fn has(&self, variable: &str) -> bool {
        let name = name_of(variable);
        name == HOSTNAME
            || self.named.contains(&name)
            || prefixes_in(name).any(|prefix| prefix.len() <= LONGEST_SERVICE && self.services.contains(prefix))
    }
}

fn name_of(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

/// The prefixes with which the variable could be one of a Service: `X_SERVICE_HOST`, `X_SERVICE_PORT`, `X_SERVICE_PORT_NAME`,
/// `X_PORT`, `X_PORT_80_TCP`, `X_PORT_80_TCP_ADDR` and so on.
fn prefixes_in(name: &str) -> impl Iterator<Item = &str> {
    let ends = [HOST, "_PORT"].into_iter().filter_map(move |end| name.strip_suffix(end));
    let named = name.match_indices(PORT).map(move |(at, _)| &name[..at]);
    let numbered = name.match_indices("_PORT_").filter(move |(at, end)| is_port(&name[at + end.len()..]));
    ends.chain(named).chain(numbered.map(move |(at, _)| &name[..at]))
}

/// `80_TCP`, or one of its parts such as `80_TCP_ADDR`.
fn is_port(text: &str) -> bool {
    let mut parts = text.splitn(4, '_');
    let is_number = parts.next().is_some_and(|number| {
        !number.is_empty() && number.len() <= 5 && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    is_number
        && parts.next().is_some_and(|protocol| matches!(protocol, "TCP" | "UDP" | "SCTP"))
        && parts.next().is_none_or(|part| matches!(part, "PROTO" | "PORT" | "ADDR"))
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn env(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| format!("{name}=x")).collect()
    }

    #[test]
    fn a_variable_is_ignored_where_it_is_named_or_of_a_service() {
        let env = env(&["DB_SERVICE_HOST", "DB_SERVICE_PORT", "A_B_SERVICE_HOST", "A_B_SERVICE_PORT"]);
        let ignored = Ignored::new(&env, &["NAMED"]);
        for name in [
            "DB_SERVICE_HOST",
            "DB_SERVICE_PORT",
            "DB_SERVICE_PORT_HTTP",
            "DB_PORT",
            "DB_PORT_80_TCP",
            "DB_PORT_80_TCP_PROTO",
            "DB_PORT_80_TCP_PORT",
            "DB_PORT_53_UDP_ADDR",
            "A_B_PORT_1_SCTP",
            "HOSTNAME",
            "NAMED",
        ] {
            assert!(ignored.has(&format!("{name}=y")), "{name}");
        }
        for name in [
            "DB",
            "DB_HOST",
            "DBX_PORT",
            "B_PORT",
            "DB_PORT_80",
            "DB_PORT_80_HTTP",
            "DB_PORT_80_TCP_NAME",
            "DB_PORT_80_TCP_ADDR_X",
            "DB_PORT_999999_TCP",
            "DB_PORT_+1_TCP",
            "DB_PORT_NAME",
            "_PORT",
            "",
            "MY_HOSTNAME",
        ] {
            assert!(!ignored.has(&format!("{name}=y")), "{name}");
        }
    }

    #[test]
    fn a_variable_that_only_looks_like_one_of_a_service_is_not_ignored() {
        for (has, name) in
            [("DB_SERVICE_HOST", "DB_PORT"), ("DB_SERVICE_HOST", "DB_SERVICE_HOST"), ("DB_PORT", "DB_PORT")]
        {
            let env = env(&[has]);
            assert!(!Ignored::new(&env, &[]).has(name), "{has} {name}");
        }
    }

    #[test]
    fn no_environment_takes_long() {
        let many: Vec<_> = (0..30_000).map(|number| format!("X{number}_SERVICE_PORT=1")).collect();
        let long = ["_SERVICE_PORT", "_PORT_", "_PORT_80_TCP"].map(|part| part.repeat(50_000)).to_vec();
        for mut env in [many, long] {
            env.extend(["A_SERVICE_HOST=1".to_owned(), "A_SERVICE_PORT=1".to_owned()]);
            let begun = Instant::now();
            let ignored = Ignored::new(&env, &[]);
            assert_eq!(env.iter().filter(|variable| ignored.has(variable)).count(), 2);
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        }
    }
}
