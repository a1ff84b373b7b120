//! Forms in which a secret is printed that no longer is where `planted` has it: split over fields, lines or encodings.

use super::*;

/// Each form with its name; `S` is the secret.
fn shapes() -> Vec<(&'static str, String)> {
    let mut shapes = commands();
    shapes.extend(fields());
    shapes.extend(lines());
    shapes.extend(encodings());
    shapes.extend(phrases());
    shapes.extend(go());
    shapes.extend(validators());
    shapes
}

fn commands() -> Vec<(&'static str, String)> {
    vec![
        ("curl --user", format!("Command 'curl -k --user bob:{S} https://registry/v2/' failed")),
        ("curl -ubob:", format!("curl -ubob:{S} https://registry")),
        ("mysql -p glued", format!("mysqldump -uroot -p{S} db")),
        ("-p glued, small letters, of mysql", "mysql -uroot -phunter_x db".replace("hunter_x", S)),
        ("sshpass", format!("sshpass -p{S} ssh bob@host")),
        ("redis-cli -a", format!("redis-cli -h db -a {S} ping")),
        ("curl --proxy-user", format!("curl --proxy-user bob:{S} https://a")),
        ("curl --cert", format!("curl --cert client.pem:{S} https://a")),
        ("curl -E", format!("curl -E client.pem:{S} https://a")),
        ("curl -b cookie", format!("curl -b sessionid={S} https://a")),
        ("curl --cookie", format!("curl --cookie 'a=b; sessionid={S}' https://a")),
        ("buildah --decryption-key", format!("buildah pull --decryption-key /k.pem:{S} img")),
        ("--from-literal", format!("kubectl create secret generic x --from-literal=foo={S}")),
        ("echo to a pipe", format!("sh -c echo {S} | docker login --password-stdin")),
        ("list of arguments, Python", format!("['curl', '--user', 'bob:{S}', 'x']")),
        ("glued in a list of arguments", format!("['mysqldump', '-p{S}', 'x']")),
        ("PGPASSWORD", format!("PGPASSWORD={S} psql")),
        ("passcode", format!("passcode={S}")),
        ("pw", format!("pw={S}")),
        ("pswd", format!("pswd: {S}")),
        ("encryption_key", format!("encryption_key={S}")),
        ("AccountKey of Azure", format!("AccountName=x;AccountKey={S};EndpointSuffix=core.windows.net")),
        ("camelCase", format!("dbPass={S}")),
        ("mount of Samba", format!("mount -t cifs //h/s /m -o rw,username=bob%{S}")),
        ("smbclient", format!("smbclient //h/s {S} -U bob")),
        ("smbclient, flags first", format!("smbclient -U bob //h/s {S}")),
        ("vault operator unseal", format!("vault operator unseal {S}")),
        ("cargo login", format!("cargo login {S}")),
        ("openssl passwd", format!("openssl passwd -6 {S}")),
        ("ngrok", format!("ngrok config add-authtoken {S}")),
        ("gh secret set", format!("gh secret set FOO --body {S}")),
        ("iscsiadm", format!("iscsiadm -m node -o update --name node.session.auth.password --value {S}")),
        ("iscsiadm, short", format!("iscsiadm -m node -o update -n node.session.auth.password -v {S}")),
    ]
}

fn fields() -> Vec<(&'static str, String)> {
    vec![
        ("variables of a container", format!(r#"{{"env":[{{"name":"DB_PASSWORD","value":"{S}"}}]}}"#)),
        ("a variable with an ordinary name", format!(r#"{{"env":[{{"name":"MODE","value":"{S}"}}]}}"#)),
        ("variables in JSON that is cut", format!(r#"{{"env":[{{"name":"DB_PASSWORD","value":"{S}"}},{{"na"#)),
        ("variables, value first, cut", format!(r#"[{{"value":"{S}","name":"DB_PASSWORD"}},{{"na"#)),
        ("variables as Go prints them", format!("[{{Name:DB_PASSWORD Value:{S} ValueFrom:nil}}]")),
        ("variables in YAML", format!("- name: DB_PASSWORD\n  value: {S}")),
        ("variables in a text", format!(r#"error in {{"name":"DB_PASSWORD","value":"{S}"}} of the pod"#)),
        (
            "request that FastAPI repeats",
            format!(
                r#"{{"detail":[{{"type":"missing","loc":["body","x"],"msg":"Field required","input":{{"pod_spec":{{"spec":{{"containers":[{{"env":[{{"name":"API_TOKEN","value":"{S}"}}]}}]}}}}}}}}]}}"#
            ),
        ),
        ("list below a key", format!(r#"{{"passwords": ["first1", "{S}"]}}"#)),
        ("payload, cut", format!(r#"{{"payload": {{"x": "{S}", "#)),
        ("environmentVariables, cut", format!(r#"{{"environmentVariables": [{{"x": "{S}", "#)),
        ("environ in YAML", format!("environ:\n  MODE: {S}\n")),
        ("list below a key, cut", format!(r#"{{"passwords": ["first1", "{S}", "#)),
        ("map below a key", format!(r#"{{"credentials": {{"user": "bob", "x": ["{S}"]}}}}"#)),
        ("JSON in JSON", serde_json::json!({"a": format!(r#"{{"x":{{"token":["a","{S}"]}}}}"#)}).to_string()),
        ("pairs of headers", format!(r#"[["accept","*/*"],["x-api-key","{S}"]]"#)),
        ("Secret in JSON", format!(r#"{{"kind":"Secret","data":{{"foo":"{S}"}}}}"#)),
        ("number below a key", r#"{"pin":1,"password":123456789}"#.replace("123456789", "31337") + S.get(..0).unwrap()),
        ("header list of Go", format!("map[X-Auth-Token:[a {S}] Accept:[*/*]]")),
        ("auth of requests", format!("requests.get(url, auth=('bob', '{S}'))")),
        ("header of Python", format!("[('X-Api-Key', '{S}')]")),
        ("second cookie", format!("Cookie: theme=dark; sessionid={S}")),
        ("second cookie in JSON, cut", format!(r#"{{"cookie": "theme=dark; sessionid={S}"#)),
        ("api_key: Token", format!("api_key: Token {S}")),
        ("Digest", format!(r#"Authorization: Digest username="bob", realm="r", nonce="{S}", response="x1""#)),
        ("Digest, escaped", format!(r#""Digest username=\"bob\", realm=\"r\", nonce=\"{S}\"""#)),
        ("X-Registry-Auth", format!("X-Registry-Auth: {S}")),
        ("query", format!("https://h/p?user=bob&password={S}")),
        ("XML", format!("<password>{S}</password>")),
        ("XML with attributes", format!(r#"<db:password type="x"><![CDATA[{S}]]></db:password>"#)),
        ("XML, name in an attribute", format!(r#"<entry key="db.password">{S}</entry>"#)),
        ("XML, name and value", format!(r#"<add key="ClearTextPassword" value="{S}" />"#)),
        ("property list", format!("<key>Password</key> <string>{S}</string>")),
        ("DSN", format!("dial bob:{S}@tcp(db:3306)/x: refused")),
        ("user info without a scheme", format!("push to bob:{S}@registry.example.com/x failed")),
        ("JDBC of Oracle", format!("jdbc:oracle:thin:bob/{S}@//db:1521/x")),
        ("Authorization: Key", format!("Authorization: Key {S}")),
        ("basicAuth", format!("basicAuth=bob:{S}")),
        ("httpauth", format!("httpauth: bob:{S}")),
        ("X-JFrog-Art-Api", format!("X-JFrog-Art-Api: {S}")),
        ("image with user info", format!("image bob:{S}@registry/x:1")),
    ]
}

fn lines() -> Vec<(&'static str, String)> {
    vec![
        ("block of YAML", format!("password: |\n  {S}\nuser: bob")),
        ("block of YAML, second line", format!("password: |\n  first\n  {S}\nuser: bob")),
        ("folded block", format!("token: >-\n  {S}")),
        ("block on one line", format!("password: | {S}")),
        ("map of YAML", format!("credentials:\n  foo: a\n  bar: {S}\nuser: bob")),
        ("list of YAML", format!("passwords:\n- a\n- {S}\nuser: bob")),
        ("Secret in YAML", format!("kind: Secret\ndata:\n  foo: {S}\n  bar: {S}")),
        ("Secret in YAML, data first", format!("data:\n  foo: {S}\nkind: Secret")),
        ("netrc", format!("machine registry login bob password {S}")),
        ("netrc with lines", format!("machine registry\nlogin bob\npassword {S}")),
    ]
}

fn encodings() -> Vec<(&'static str, String)> {
    vec![
        ("HTML", format!("{{&quot;password&quot;: &quot;{S}&quot;}}")),
        ("HTML, decimal", format!("{{&#34;token&#34;:&#34;{S}&#34;}}")),
        ("HTML, twice", format!("{{&amp;quot;token&amp;quot;:&amp;quot;{S}&amp;quot;}}")),
        ("XML in HTML", format!("&lt;password&gt;{S}&lt;/password&gt;")),
        ("percent-encoded", format!("Authorization%3A%20Bearer%20{S}")),
        ("percent-encoded twice", format!("password%253D{S}")),
        ("query in a query", format!("https://h/?next=https%3A%2F%2Fa%2F%3Ftoken%3D{S}%26x%3D1")),
        ("escaped letter in JSON", format!(r#"{{"pass\u0077ord":"{S}"}}"#)),
        ("escaped letter in JSON in a text", format!(r#"raw: {{"pass\u0077ord":"{S}"}}"#)),
        ("escaped letter in JSON that is cut", format!(r#"raw: {{"pass\u0077ord":"{S}"#)),
        ("escaped quotes", format!(r"\x22password\x22: \x22{S}\x22")),
    ]
}

fn phrases() -> Vec<(&'static str, String)> {
    vec![
        ("words", format!("invalid password {S} for user bob")),
        ("words with quotes", format!("wrong password '{S}'")),
        ("AUTH of Redis", format!("AUTH {S} failed: WRONGPASS")),
        ("AUTH with a user", format!("AUTH bob {S} failed")),
        ("AUTH PLAIN", format!("AUTH PLAIN {S} 535 5.7.8")),
        ("password of two words", format!("password='{S} two words'")),
        ("login failed", format!("login failed for bob:{S}")),
        ("login failed, in quotes", format!("Authentication failed for user 'bob:{S}'")),
        ("logged in", format!("could not log in as bob:{S}")),
    ]
}

fn go() -> Vec<(&'static str, String)> {
    vec![
        ("Secret as a map", format!("map[apiVersion:v1 data:map[foo:{S}] kind:Secret]")),
        (
            "Secret as typed maps",
            format!(r#"map[string]interface {{}}{{"data":map[string]interface {{}}{{"foo":"{S}"}}}}"#),
        ),
        ("Secret as a struct", format!("Secret{{Data:map[string][]byte{{foo: *{S}*,}},Type:Opaque,}}")),
        ("variables as maps", format!("env:[map[name:MODE value:{S}]]")),
        ("variable", format!("EnvVar{{Name:DB,Value:{S},ValueFrom:nil,}}")),
        ("variable with a brace", format!("EnvVar{{Name:DB,Value:a}}{S},ValueFrom:nil,}}")),
        ("variable of CRI", format!("&KeyValue{{Key:DB,Value:{S},}}")),
        ("variables of CRI", format!("Envs:[]*KeyValue{{&KeyValue{{Key:DB,Value:{S},}},}}")),
        ("two fields", format!("[{{Key:DB Value:{S} two}}]")),
        ("protobuf", format!(r#"envs:<key:"DB" value:"{S}" >"#)),
        ("protobuf in JSON", format!(r#"{{"a":"envs:{{key:\"DB\"  value:\"{S}\"}}"}}"#)),
    ]
}

fn validators() -> Vec<(&'static str, String)> {
    vec![
        ("loc and msg", format!(r#"{{"loc":["body","password"],"msg":"value is not a valid integer: {S}"}}"#)),
        ("loc and value", format!(r#"{{"loc":["body","password"],"msg":"Field required","value":"{S}"}}"#)),
        ("loc and msg, cut", format!(r#"[{{"loc":["body","password"],"msg":"no integer: {S}","x"#)),
        ("loc and value, cut", format!(r#"[{{"loc":["body","password"],"value":"{S}","x"#)),
        ("loc and msg of Python", format!("[{{'loc': ('body', 'password'), 'msg': 'no integer: {S}'}}]")),
        ("field and message", format!(r#"{{"field":"password","message":"must not be {S}"}}"#)),
        ("field and message, cut", format!(r#"[{{"field":"password","message":"must not be {S}"}},{{"#)),
        ("path and message of Zod", format!(r#"{{"code":"x","path":["password"],"message":"got {S}"}}"#)),
        ("instancePath", format!(r#"{{"instancePath":"/password","message":"{S} is too short"}}"#)),
        ("Spring", format!(r#"{{"field":"apiToken","defaultMessage":"{S} is no token"}}"#)),
    ]
}

#[test]
fn a_secret_in_another_shape_never_survives() {
    let leaks: Vec<_> = shapes()
        .into_iter()
        .map(|(form, text)| (form, redacted(&text)))
        .filter(|(_, result)| result.contains(S) || result.contains("31337"))
        .collect();
    assert_eq!(leaks, []);
}

#[test]
fn a_password_of_digits_with_a_slash_is_no_port() {
    assert_eq!(redacted("https://bob:123/456@registry/v2"), "https://[redacted]@registry/v2");
    let image = "http://registry:5000/web@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    assert_eq!(redacted(image), image);
}

#[test]
fn a_signature_in_a_query_is_removed_with_its_escapes() {
    let signature = ["aB3dE5fG7hI9%2B", "k1LmN3oP5qR7sT9%3D"].concat();
    let result = redacted(&format!("https://acc.blob.core.windows.net/c?sv=2020&sig={signature}"));
    assert_eq!(result, "https://acc.blob.core.windows.net/c?sv=2020&sig=[redacted]");
}

#[test]
fn json_without_a_secret_keeps_its_form() {
    for text in [
        r#"{ "b" : 1, "a" : [ "x", null ] }"#,
        r#"failed: {"reason": "NotFound", "code": 404} at last"#,
        r#"{"detail":[{"loc":["body","pod_spec"],"msg":"field required","type":"value_error.missing"}]}"#,
        "see [1] and {x}",
    ] {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn the_rest_of_json_with_a_secret_is_kept() {
    for (text, expected) in [
        (
            r#"{"detail":[{"loc":["body","x"],"msg":"Field required","input":{"pod":"web"}}]}"#,
            r#"{"detail":[{"input":{"pod":"[redacted]"},"loc":["body","x"],"msg":"Field required"}]}"#,
        ),
        (r#"a {"token":{"x":"y","is":true}} b"#, r#"a {"token":{"is":true,"x":"[redacted]"}} b"#),
    ] {
        assert_eq!(json::redacted(text), expected);
    }
}

#[test]
fn the_usual_message_about_a_secret_field_stays_as_it_is() {
    for text in [
        r#"{"detail":[{"loc":["body","token"],"msg":"Field required","type":"missing"}]}"#,
        r#"{"loc":["body","password"],"msg":"String should have at least 8 characters"}"#,
        r#"{"field":"password","message":"must not be blank"}"#,
        r#"{"message":"criu failed for web-0","path":"/auth/checkpoint","status":500}"#,
        r#"{"message":"criu failed for web-0","id":"token-1"}"#,
    ] {
        assert_eq!(redacted(text), text);
    }
}
