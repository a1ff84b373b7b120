//! The definition of the Checkpoint resource: whether it is there, served, and the one that this program prints.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion,
};
use kube::{Api, Client, CustomResourceExt as _, Resource as _};

use super::finding::{Finding, Topic};
use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, call};

const APPLY: &str = "run `snapwatcher crd | kubectl apply --server-side -f -`";

/// What could be learnt of it.
#[derive(Debug)]
pub(super) enum Stored {
    Absent,
    Found(Box<CustomResourceDefinition>),
    /// Not allowed to read it; but the API server tells everybody what it serves.
    Hidden {
        is_served: bool,
    },
    Unreadable(String),
}

/// Judges what is stored by what this program would print.
pub(super) fn verdict(stored: &Stored, ours: &CustomResourceDefinition) -> Finding {
    let what = format!("definition of the Checkpoint resource, {}", Checkpoint::crd_name());
    let failed = |seen: &str, remedy: &str| Finding::failed(Topic::Definition, &what, seen, remedy.to_owned());
    let warning = |seen: &str, remedy: &str| Finding::warning(Topic::Definition, &what, seen, remedy.to_owned());
    let version = Checkpoint::version(&());
    let stored = match stored {
        Stored::Absent | Stored::Hidden { is_served: false } => return failed("not installed", APPLY),
        Stored::Hidden { is_served: true } => {
            let seen = format!("{version} is served; whether it is ours can't be told without the right to read it");
            return warning(&seen, "grant the right to get it, see above");
        }
        Stored::Unreadable(words) => return failed(words, "see that the API server answers, and check again"),
        Stored::Found(stored) => stored,
    };
    if stored.metadata.deletion_timestamp.is_some() {
        return failed("being deleted, and all records with it", &format!("wait until it is gone, then {APPLY}"));
    }
    let of = |definition: &CustomResourceDefinition| {
        definition.spec.versions.iter().find(|found| found.name == version).cloned()
    };
    let Some(found) = of(stored).filter(|found| found.served) else {
        return failed(&format!("{version} is not served"), APPLY);
    };
    if let Some(words) = refused(stored) {
        return failed(&words, "remove what stands in the way, or another definition of the same names");
    }
    let differences = of(ours).map(|ours| differences(&found, &ours)).unwrap_or_default();
    if !differences.is_empty() {
        let seen =
            format!("{version} is served, but of another version of SnapWatcher: other {}", differences.join(", "));
        return warning(&seen, APPLY);
    }
    Finding::ok(Topic::Definition, what, format!("{version} is served, as this program has it"))
}

/// Why the API server serves nothing of it.
fn refused(stored: &CustomResourceDefinition) -> Option<String> {
    let conditions = stored.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut refusing = conditions.filter(|condition| {
        let is_needed = matches!(condition.type_.as_str(), "Established" | "NamesAccepted");
        is_needed && condition.status == "False"
    });
    let message = |words: Option<&str>| words.filter(|words| !words.is_empty()).map(str::to_owned);
    refusing.next().map(|condition| {
        let words = message(condition.message.as_deref()).unwrap_or_else(|| "no reason is given".to_owned());
        format!("{} is False: {words}", condition.type_)
    })
}

fn differences(found: &CustomResourceDefinitionVersion, ours: &CustomResourceDefinitionVersion) -> Vec<&'static str> {
    [
        ("schema", found.schema == ours.schema),
        ("columns", found.additional_printer_columns == ours.additional_printer_columns),
        ("subresources", found.subresources == ours.subresources),
    ]
    .into_iter()
    .filter_map(|(part, is_same)| (!is_same).then_some(part))
    .collect()
}

pub(super) async fn look(client: &Client) -> Finding {
    verdict(&read(client).await, &Checkpoint::crd())
}

async fn read(client: &Client) -> Stored {
    let name = Checkpoint::crd_name();
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    match call(format!("read CustomResourceDefinition `{name}`"), api.get_opt(name)).await {
        Ok(None) => Stored::Absent,
        Ok(Some(definition)) => Stored::Found(Box::new(definition)),
        Err(error) if error.status().is_some_and(kube::core::Status::is_forbidden) => served(client).await,
        Err(error) => Stored::Unreadable(error_chain(&error)),
    }
}

async fn served(client: &Client) -> Stored {
    let version = Checkpoint::api_version(&());
    let what = format!("read what the API server serves of {version}");
    match call(what, client.list_api_group_resources(&version)).await {
        Ok(list) => {
            let plural = Checkpoint::plural(&());
            Stored::Hidden { is_served: list.resources.iter().any(|resource| resource.name == plural) }
        }
        Err(error) if CallError::is_not_found(&error) => Stored::Hidden { is_served: false },
        Err(error) => Stored::Unreadable(error_chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionCondition;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::super::finding::State;
    use super::*;

    fn changed(change: impl FnOnce(&mut CustomResourceDefinition)) -> Stored {
        let mut stored = Checkpoint::crd();
        change(&mut stored);
        Stored::Found(Box::new(stored))
    }

    #[test]
    fn a_definition_is_judged_by_what_this_program_prints() {
        let refusal = CustomResourceDefinitionCondition {
            type_: "NamesAccepted".to_owned(),
            status: "False".to_owned(),
            message: Some("`ckpt` is already in use".to_owned()),
            ..CustomResourceDefinitionCondition::default()
        };
        for (case, stored, state, words) in [
            ("ours", changed(|_| ()), State::Ok, "as this program has it"),
            ("absent", Stored::Absent, State::Failed, "not installed"),
            ("hidden", Stored::Hidden { is_served: true }, State::Warning, "v1alpha1 is served; whether"),
            ("hidden and absent", Stored::Hidden { is_served: false }, State::Failed, "not installed"),
            ("unreadable", Stored::Unreadable("no answer".to_owned()), State::Failed, "no answer"),
            ("not served", changed(|stored| stored.spec.versions[0].served = false), State::Failed, "not served"),
            (
                "another version",
                changed(|stored| stored.spec.versions[0].name = "v2".to_owned()),
                State::Failed,
                "not served",
            ),
            (
                "without columns",
                changed(|stored| stored.spec.versions[0].additional_printer_columns = None),
                State::Warning,
                "other columns",
            ),
            ("another schema", changed(|stored| stored.spec.versions[0].schema = None), State::Warning, "other schema"),
            (
                "no status",
                changed(|stored| stored.spec.versions[0].subresources = None),
                State::Warning,
                "other subresources",
            ),
            (
                "going",
                changed(|stored| stored.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH))),
                State::Failed,
                "being deleted",
            ),
            (
                "names taken",
                changed(|stored| stored.status.get_or_insert_default().conditions = Some(vec![refusal])),
                State::Failed,
                "NamesAccepted is False: `ckpt` is already in use",
            ),
        ] {
            let finding = verdict(&stored, &Checkpoint::crd());
            assert_eq!(finding.state, state, "{case}: {finding:?}");
            assert!(finding.seen.contains(words), "{case}: {finding:?}");
            assert_eq!(finding.remedy.is_none(), state == State::Ok, "{case}");
        }
    }
}
