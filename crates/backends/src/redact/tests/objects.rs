//! Secrets in objects, as servers and programs print them.

use super::*;

#[test]
fn a_secret_in_an_object_never_survives() {
    let objects = vec![
        format!(r#"{{"kind":"SecretList","items":[{{"data":{{"foo":"{S}"}}}}]}}"#),
        format!(r#"{{"kind":"List","items":[{{"kind":"Secret","stringData":{{"foo":"{S}"}}}}]}}"#),
        format!(r#"{{"request_id":"1","data":{{"data":{{"foo":"{S}"}}}}}}"#),
        format!(r#"{{"environment":{{"MODE":"{S}"}}}}"#),
        format!(r#"{{"Env":["MODE={S}","PATH=/usr/bin"]}}"#),
        format!(r#"{{"ctx":{{"given":"{S}"}}}}"#),
        format!(r#"{{"body":{{"mode":["{S}"]}}}}"#),
        format!(r#"{{"body":{{"mode":["{S}"]}}, "cut"#),
        format!(r#"{{"env":[{{"name":"MODE","value":"{S}"}},{{"na"#),
        format!("{{'input': {{'mode': '{S}'}}}}"),
        format!("env:\n- name: MODE\n  value: {S}"),
        format!("spec:\n  env:\n    - name: MODE\n      value: {S}\n  image: web"),
        format!("kind: SecretList\nitems:\n- data:\n    foo: {S}"),
        format!("env: [{{name: MODE, value: {S}}}]"),
        serde_json::json!({"detail": format!("env:\n- name: MODE\n  value: {S}\n")}).to_string(),
        format!(r#"{{"detail":"password: |\n  {S}"#),
        format!(
            "1 validation error for Login\ntoken\n  Input should be a valid integer [type=int_type, input_value='{S}', input_type=str]"
        ),
        format!("1 validation error [type=missing, input_value={{'mode': '{S} two'}}, input_type=dict]"),
        format!("[{{DB_PASSWORD {S} nil}}]"),
        format!("[{{MODE {S} two <nil>}} {{A b nil}}]"),
        format!(r#"Env:[]v1.EnvVar{{v1.EnvVar{{Name:"MODE", Value:"{S}"}}}}"#),
        format!(r#"Variable {{ name: "DB_PASSWORD", value: Some("{S} two") }}"#),
        format!("Settings(password=SecretStr('{S} two'), user='bob')"),
        format!("login(password=b'{S} two')"),
        format!("HTTPBasicAuth('bob', '{S}')"),
        format!("requests.post(url, data={{'mode': '{S}'}})"),
        format!("password = \"\"\"{S} two\"\"\""),
        format!("password <- \"{S}\""),
        format!("{{Name:MODE Value:{S} two ValueFrom:nil}}"),
        format!("Array ( [user] => bob [password] => {S} )"),
        format!("array(1) {{ [\"password\"]=> string(8) \"{S}\" }}"),
        format!("a:1:{{s:8:\"password\";s:8:\"{S}\";}}"),
        format!("user['password'] = '{S}'"),
        format!("login[password]={S}&commit=1"),
        format!("{{password,<<\"{S}\">>}}"),
        format!("['password', '{S}']"),
        format!("On instance['password']:\n    '{S}'"),
        format!("spec.password: Invalid value: \"{S}\": must be longer"),
        format!("data[password]: Invalid value: \"{S}\""),
        format!("token: invalid type: string \"{S}\", expected u64"),
        format!(r#"{{"field":"password","rejectedValue":"{S}"}}"#),
        format!(r#"{{"property":"apiToken","value":"{S}","constraints":{{}}}}"#),
        format!(r#"{{"ParameterKey":"DbPassword","ParameterValue":"{S}"}}"#),
        format!(r#"{{"kty":"oct","k":"{S}"}}"#),
        format!("<input type=\"password\" name=\"x\" value=\"{S}\">"),
        format!("<input value='{S}' name='csrf_token'>"),
        format!("Content-Disposition: form-data; name=\"password\"\r\n\r\n{S}\r\n--x"),
        format!("[credentials]\nuser = bob\nfoo = {S}\n[other]\na = 1"),
        format!(r#"{{"property":"password","constraints":{{"isInt":"{S} must be int"}}}}"#),
        format!(r#"{{"path":["password"],"message":"x","context":{{"label":"password","value":"{S}"}}}}"#),
        format!(r#"{{"errors":[{{"param":"password","location":"body","msg":"Invalid value {S}"}}]}}"#),
        format!("1 validation error\nbody -> password\n  value is not a valid integer: {S}"),
    ];
    assert_eq!(leaks(objects), []);
}

#[test]
fn what_is_beside_a_secret_of_an_object_is_kept() {
    for (text, expected) in [
        ("[credentials]\nfoo = bar2\n[other]\na = 1", "[credentials] [redacted] [other] a = 1"),
        (
            "spec:\n  env:\n  - name: MODE\n    value: x\n  image: web",
            "spec:   env:   [redacted]   [redacted]   image: web",
        ),
        ("Settings(password=SecretStr('a b'), user='bob')", "Settings(password=[redacted], user='bob')"),
        (r#"{"message":"criu failed","data":{"pod":"web"}}"#, r#"{"data":[redacted],"message":"criu failed"}"#),
    ] {
        assert_eq!(redacted(text), expected);
    }
}
