//! TLS from end to end, untouched.

use testkit::{pki::Authority, process::sh};

use crate::fixture::{Proxy, nginx};

#[test]
fn curl_sees_the_servers_own_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let authority = Authority::new("the cluster's");
    authority.issue(7).write(folder);
    std::fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
    let large = vec![b'x'; 20 << 20];
    std::fs::write(folder.join("large"), large).unwrap();
    let path = folder.display();
    let server = format!(
        "listen 127.0.0.1:6443 ssl; ssl_certificate {path}/tls.crt; ssl_certificate_key {path}/tls.key; root {path};"
    );
    let (_proxy, _nginx) = Proxy::start("127.0.0.1:6443", &[], || nginx(folder, &server, "127.0.0.1:6443"));
    let curl = format!(
        "curl -sS --fail --cacert {path}/ca.crt -o {path}/got https://localhost:8443/large && \
         cmp {path}/large {path}/got"
    );
    sh(&curl);
}
