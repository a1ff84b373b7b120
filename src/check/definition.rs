//! Tests the CustomResourceDefinition of Checkpoint: whether it exists, is served, and is the one of this program.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion,
};
use kube::{Api, Client, CustomResourceExt as _, Resource as _};

use super::finding::{Finding, Topic};
use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, call};

const APPLY: &str = "run `snapwatcher crd | kubectl apply --server-side -f -`";

/// The definition as it was read.
#[derive(Debug)]
pub(super) enum StoredDefinition {
    Absent,
    Found(Box<CustomResourceDefinition>),
    /// The account may not read it. Discovery shows whether the resource is served.
    Hidden {
        is_served: bool,
    },
    Unreadable(String),
}

/// Compares the stored definition with that of this program.
pub(super) fn evaluate(stored: &StoredDefinition, ours: &CustomResourceDefinition) -> Finding {
    let what = format!("definition of the Checkpoint resource, {}", Checkpoint::crd_name());
    let failed = |seen: &str, remedy: &str| Finding::failed(Topic::Definition, &what, seen, remedy.to_owned());
    let warning = |seen: &str, remedy: &str| Finding::warning(Topic::Definition, &what, seen, remedy.to_owned());
    let version = Checkpoint::version(&());
    let stored = match stored {
        StoredDefinition::Absent | StoredDefinition::Hidden { is_served: false } => {
            return failed("not installed", APPLY);
        }
        StoredDefinition::Hidden { is_served: true } => {
            let seen = format!("{version} is served, but this account may not read and compare it");
            return warning(&seen, "grant the right to get it, see above");
        }
        StoredDefinition::Unreadable(message) => {
            return failed(message, "see that the API server responds, and run the check again");
        }
        StoredDefinition::Found(stored) => stored,
    };
    if stored.metadata.deletion_timestamp.is_some() {
        return failed("being deleted, and all Checkpoints with it", &format!("wait until it is gone, then {APPLY}"));
    }
    let of = |definition: &CustomResourceDefinition| {
        definition.spec.versions.iter().find(|found| found.name == version).cloned()
    };
    let Some(found) = of(stored).filter(|found| found.served) else {
        return failed(&format!("{version} is not served"), APPLY);
    };
    if let Some(message) = false_condition(stored) {
        return failed(&message, "remove the cause, often another CustomResourceDefinition with the same names");
    }
    let differences = of(ours).map(|ours| differences(&found, &ours)).unwrap_or_default();
    if !differences.is_empty() {
        let seen = format!(
            "{version} is served, but from another version of SnapWatcher, with other {}",
            differences.join(", ")
        );
        return warning(&seen, APPLY);
    }
    Finding::ok(Topic::Definition, what, format!("{version} is served, and is the one of this program"))
}

/// The condition because of which the API server does not serve the resource, with its message.
fn false_condition(stored: &CustomResourceDefinition) -> Option<String> {
    let conditions = stored.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut failing = conditions.filter(|condition| {
        let is_needed = matches!(condition.type_.as_str(), "Established" | "NamesAccepted");
        is_needed && condition.status == "False"
    });
    let message = |words: Option<&str>| words.filter(|words| !words.is_empty()).map(str::to_owned);
    failing.next().map(|condition| {
        let text = message(condition.message.as_deref()).unwrap_or_else(|| "without a message".to_owned());
        format!("{} is False: {text}", condition.type_)
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

pub(super) async fn check(client: &Client) -> Finding {
    evaluate(&read(client).await, &Checkpoint::crd())
}

async fn read(client: &Client) -> StoredDefinition {
    let name = Checkpoint::crd_name();
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    match call(format!("read CustomResourceDefinition `{name}`"), api.get_opt(name)).await {
        Ok(None) => StoredDefinition::Absent,
        Ok(Some(definition)) => StoredDefinition::Found(Box::new(definition)),
        Err(error) if error.status().is_some_and(kube::core::Status::is_forbidden) => served(client).await,
        Err(error) => StoredDefinition::Unreadable(error_chain(&error)),
    }
}

async fn served(client: &Client) -> StoredDefinition {
    let version = Checkpoint::api_version(&());
    let what = format!("read the resources that the API server serves in {version}");
    match call(what, client.list_api_group_resources(&version)).await {
        Ok(list) => {
            let plural = Checkpoint::plural(&());
            StoredDefinition::Hidden { is_served: list.resources.iter().any(|resource| resource.name == plural) }
        }
        Err(error) if CallError::is_not_found(&error) => StoredDefinition::Hidden { is_served: false },
        Err(error) => StoredDefinition::Unreadable(error_chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionCondition;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::super::finding::State;
    use super::*;

    fn changed(change: impl FnOnce(&mut CustomResourceDefinition)) -> StoredDefinition {
        let mut stored = Checkpoint::crd();
        change(&mut stored);
        StoredDefinition::Found(Box::new(stored))
    }

    #[test]
    fn a_definition_is_compared_with_that_of_this_program() {
        let names_taken = CustomResourceDefinitionCondition {
            type_: "NamesAccepted".to_owned(),
            status: "False".to_owned(),
            message: Some("`ckpt` is already in use".to_owned()),
            ..CustomResourceDefinitionCondition::default()
        };
        for (case, stored, state, words) in [
            ("ours", changed(|_| ()), State::Ok, "is the one of this program"),
            ("absent", StoredDefinition::Absent, State::Failed, "not installed"),
            ("hidden", StoredDefinition::Hidden { is_served: true }, State::Warning, "v1alpha1 is served, but"),
            ("hidden and absent", StoredDefinition::Hidden { is_served: false }, State::Failed, "not installed"),
            ("unreadable", StoredDefinition::Unreadable("no answer".to_owned()), State::Failed, "no answer"),
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
                "terminating",
                changed(|stored| stored.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH))),
                State::Failed,
                "being deleted",
            ),
            (
                "names taken",
                changed(|stored| stored.status.get_or_insert_default().conditions = Some(vec![names_taken])),
                State::Failed,
                "NamesAccepted is False: `ckpt` is already in use",
            ),
        ] {
            let finding = evaluate(&stored, &Checkpoint::crd());
            assert_eq!(finding.state, state, "{case}: {finding:?}");
            assert!(finding.seen.contains(words), "{case}: {finding:?}");
            assert_eq!(finding.remedy.is_none(), state == State::Ok, "{case}");
        }
    }
}
