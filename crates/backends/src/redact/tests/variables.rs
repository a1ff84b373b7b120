//! Variables on command lines and in objects, whose names say nothing.

use super::*;

#[test]
fn the_value_of_a_variable_never_survives() {
    let mut variables = vec![
        format!("podman run -e FOO={S} web"),
        format!("podman run -eFOO={S} web"),
        format!("podman run --env MODE={S} web"),
        format!("podman run --env=MODE={S} web"),
        format!("podman run -e 'FOO={S} two' web"),
        format!("podman run -e 'FOO=two {S}' web"),
        format!("docker build --build-arg NPM={S} ."),
        format!("buildctl build --opt build-arg:NPM={S}"),
        format!("systemd-run --setenv=FOO={S} x"),
        format!("ansible-playbook --extra-vars 'a=b foo={S}' x.yml"),
        format!("terraform apply -var foo={S}"),
        format!("curl -d mode={S} https://a"),
        format!("curl --data-urlencode 'mode={S}' https://a"),
        format!("env A=b FOO={S} podman run web"),
        format!("export FOO={S}; podman run web"),
        format!("STEP 3/5: ENV A=b FOO={S}"),
        format!(r#"STEP 3/5: ENV A="b c" FOO="two {S}""#),
        format!(r#"["env", "A=b", "FOO={S}"]"#),
        format!("STEP 3/5: ARG NPM={S}"),
        format!("kubectl set env deploy/web FOO={S}"),
        format!("fly secrets set FOO={S}"),
        format!(r#"{{"args":["--env","DB={S}"]}}"#),
        format!(r#"{{"args":["--env=DB={S} two"]}}"#),
        format!("['podman', 'run', '-e', 'FOO=two {S}', 'web']"),
        format!("[podman run -e FOO={S}]"),
        format!("args:\n- --env\n- FOO={S}\n"),
        format!("[env]\nfoo = {S}"),
        format!("variables:\n  FOO: {S}"),
        format!(r#"{{"envVars":[{{"name":"DB","value":"{S}"}}]}}"#),
        format!(r#"{{"payload":{{"key":"{S}"}}}}"#),
        format!(r#"{{"body":{{"name":"{S}"}}}}"#),
        format!(r#"{{"credentials":{{"key":"{S}"}}}}"#),
        format!(r#"{{"env":[{{"Name":"DB","Value":"{S}"}}]}}"#),
    ];
    for name in
        ["env_vars", "env-vars", "envVariables", "environment_variables", "variables", "containerEnv", "buildArgs"]
    {
        variables.push(format!(r#"{{"{name}":{{"DB":"{S}"}}}}"#));
        variables.push(format!(r#"{{"{name}":{{"DB":"{S}","#));
        variables.push(format!("{name}: {{DB: {S}}}"));
    }
    variables.push(format!(r#"{{"envs":["DB={S}"]}}"#));
    variables.push(format!(r#"{{"formData":{{"key":"{S}"}}}}"#));
    variables.push(format!(r#"{{"request_body":{{"key":"{S}"}}}}"#));
    assert_eq!(leaks(variables), []);
}

#[test]
fn what_is_around_a_variable_is_kept() {
    for (text, expected) in [
        ("podman run -e FOO=hunter2X web: exit status 125", "podman run -e FOO=[redacted] web: exit status 125"),
        ("podman run -e 'A=two words' web", "podman run -e 'A=[redacted]' web"),
        ("podman run -e DEBUG=true -e HOME web", "podman run -e DEBUG=true -e HOME web"),
        ("sed -e s/a/b/ x; set -e; docker run -d --name=web", "sed -e s/a/b/ x; set -e; docker run -d --name=web"),
        (r#"{"env":[{"name":"DB","value":"hunter2X"}]}"#, r#"{"env":[redacted]}"#),
        ("smbclient //host/share failed: exit status 1", "smbclient //host/share failed: exit status 1"),
        ("authentication failed for registry:5000/web", "authentication failed for registry:5000/web"),
        ("access denied for web:1.25-alpine3", "access denied for web:1.25-alpine3"),
    ] {
        assert_eq!(redacted(text), expected);
    }
}

#[test]
fn the_names_of_variables_and_of_references_are_kept_in_json() {
    for (text, expected) in [
        (
            r#"{"env":[{"name":"DB","value":"hunter2X"},{"name":"A","valueFrom":{"fieldPath":"x"}}]}"#,
            r#"{"env":[{"name":"DB","value":"[redacted]"},{"name":"A","valueFrom":{"fieldPath":"[redacted]"}}]}"#,
        ),
        (r#"{"secretKeyRef":{"key":"db","name":"web"}}"#, r#"{"secretKeyRef":{"key":"db","name":"web"}}"#),
        (r#"{"imagePullSecrets":[{"name":"regcred"}]}"#, r#"{"imagePullSecrets":[{"name":"regcred"}]}"#),
    ] {
        assert_eq!(json::redacted(text), expected);
    }
}
