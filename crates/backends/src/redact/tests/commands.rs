//! Secrets on the command lines that a server quotes.

use super::*;

#[test]
fn a_secret_of_a_command_never_survives() {
    let commands = vec![
        format!("login --pwd {S}"),
        format!("login --psw={S}"),
        format!("tool --secret_key {S} x"),
        format!("curl --oauth2-bearer {S} https://a"),
        format!("curl -U bob:{S} https://a"),
        format!("ldapsearch -x -D cn=admin,dc=a -w {S} -b dc=a"),
        format!("ldapsearch -xw {S} -b dc=a"),
        format!("ldappasswd -s {S} uid=bob"),
        format!("unzip -P {S} a.zip"),
        format!("zip -P{S} a.zip b"),
        format!("htpasswd -b f bob {S}"),
        format!("htpasswd -nbB bob {S} failed"),
        format!("smbclient //host/share -U bob%{S} -c ls"),
        format!("net rpc -U=bob%{S} info"),
        format!("mount.cifs --user bob%{S} //a /b"),
        format!("ipmitool -H bmc -U admin -P {S} power status"),
        format!("snmpwalk -v2c -c {S} host"),
        format!("snmpget -v3 -A {S} -X {S} host"),
        format!("mosquitto_pub -h host -P {S} -t x"),
        format!("sqlcmd -S db -U sa -P {S}"),
        format!("ssh-keygen -t ed25519 -N {S} -f key"),
        format!("openssl enc -aes-256-cbc -k {S} -in a"),
        format!("openssl rsa -passin pass:{S} -in a"),
        format!("keytool -list -storepass {S}"),
        format!("unrar x -hp{S} a.rar"),
        format!("rabbitmqctl add_user bob {S}"),
        format!("rabbitmqctl change_password bob {S}"),
        format!("mc alias set x http://minio AKEY {S}"),
        format!("net user bob {S} /add"),
        format!(r"net use z: \\host\share {S} /user:bob"),
        format!("xfreerdp /u:bob /p:{S} /v:host"),
        format!("wpa_passphrase ssid {S}"),
        format!("vault login {S}"),
        format!("vault kv put secret/x foo=a bar={S}"),
        format!("ACL SETUSER bob on >{S} ~*"),
        format!("sentinel auth-pass mymaster {S}"),
        format!("schtasks /ru bob /rp {S}"),
        format!("sqlplus -s bob/{S}@db"),
        format!("lftp -u bob,{S} host"),
        format!("docker login --password-stdin <<< {S}"),
        format!("echo '{S} two' | docker login --password-stdin"),
        format!("ConvertTo-SecureString '{S}' -AsPlainText -Force"),
        format!("aws configure set aws_secret_access_key {S}"),
        format!("setx DB_PASSWORD {S}"),
        format!("['ldapsearch', '-w', '{S}', '-b', 'x']"),
        format!(r#"["htpasswd", "-b", "f", "bob", "{S}"]"#),
        format!(r#"["unzip","-P","{S}","a.zip"]"#),
    ];
    assert_eq!(leaks(commands), []);
}

#[test]
fn the_rest_of_a_command_is_kept() {
    for (text, expected) in [
        ("unzip -P hunter2X a.zip", "unzip -P [redacted] a.zip"),
        ("smbclient -U bob%hunter2X -c ls", "smbclient -U bob%[redacted] -c ls"),
        ("scp -P 2222 a host:b", "scp -P 2222 a host:b"),
        ("zip -r a.zip checkpoint: exit status 12", "zip -r a.zip checkpoint: exit status 12"),
        ("openssl x509 -in a -noout: exit status 1", "openssl x509 -in a -noout: exit status 1"),
    ] {
        assert_eq!(redacted(text), expected);
    }
}
