//! What a kubeconfig says, of one file or of several (`KUBECONFIG=one:other`).
//!
//! Of two that say the same thing the first counts, and of several files those that are missing are passed over, as
//! kubectl does. Paths in a file are relative to its folder. What has to be obeyed and is not supported here is an
//! error; what else is not known has no effect. Errors quote nothing of a user.
//!
//! Source: <https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/>,
//! <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>.

use std::{
    ffi::OsStr,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::way::{Identity, User, Way, read, secret, token};
use crate::{
    egress::Secret,
    yaml::{self, ConfigError, Section},
};

/// To ask in another's name, which is not supported.
const IMPERSONATION: [&str; 4] = ["as", "as-uid", "as-groups", "as-user-extra"];

/// The way of the current context in these files.
///
/// # Errors
/// With the file and the line where it is about one.
pub(super) fn way(paths: &OsStr) -> anyhow::Result<Way> {
    let paths: Vec<PathBuf> =
        std::env::split_paths(paths).filter(|path| !path.as_os_str().is_empty()).collect();
    let mut all = Vec::new();
    let mut missing = None;
    for path in paths {
        match read(&path) {
            Ok(bytes) => {
                let file = File::parse(&bytes).with_context(|| path.display().to_string())?;
                all.push((path.parent().map(Path::to_owned).unwrap_or_default(), file));
            }
            Err(error) if is_missing(&error) => missing = missing.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    if all.is_empty() {
        return Err(missing.unwrap_or_else(|| anyhow::anyhow!("no file is named")));
    }
    Files(all).way()
}

fn is_missing(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

/// One file.
struct File {
    current: Option<String>,
    contexts: Vec<Named>,
    clusters: Vec<Named>,
    users: Vec<Named>,
}

/// An entry of a list, by its name.
struct Named {
    name: String,
    entry: Section,
}

impl File {
    fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let mut file = yaml::read(yaml::text(bytes)?)?.entries()?;
        let mut named = |list: &str, entry: &str| {
            let items = file.take(list).map(yaml::Field::items).transpose()?.unwrap_or_default();
            let one = |item: yaml::Field| {
                let mut item = item.entries()?;
                let Some(name) = text(&mut item, "name")? else { return Err(item.wrong("it has no name")) };
                let entry = item.take(entry).map(yaml::Field::entries).transpose()?;
                Ok(entry.map(|entry| Named { name, entry }))
            };
            items
                .into_iter()
                .filter_map(|item| one(item).transpose())
                .collect::<Result<Vec<_>, ConfigError>>()
        };
        Ok(Self {
            contexts: named("contexts", "context")?,
            clusters: named("clusters", "cluster")?,
            users: named("users", "user")?,
            current: text(&mut file, "current-context")?,
        })
    }
}

/// All files, each with the folder that it is in.
struct Files(Vec<(PathBuf, File)>);

impl Files {
    fn way(mut self) -> anyhow::Result<Way> {
        let current = self.0.iter().find_map(|(_, file)| file.current.clone());
        let current = current.context("there is no current-context")?;
        let Some((_, mut context)) = self.take(|file| &mut file.contexts, &current) else {
            bail!("there is no context {current}, which is the current one");
        };
        let cluster =
            text(&mut context, "cluster")?.with_context(|| format!("context {current} has no cluster"))?;
        let user = text(&mut context, "user")?.with_context(|| format!("context {current} has no user"))?;
        let Some((folder, mut entry)) = self.take(|file| &mut file.users, &user) else {
            bail!("there is no user {user}, whom context {current} has");
        };
        let user = self::user(&folder, &mut entry).with_context(|| format!("user {user}"))?;
        let Some((folder, mut entry)) = self.take(|file| &mut file.clusters, &cluster) else {
            bail!("there is no cluster {cluster}, which context {current} has");
        };
        way_to(&folder, &mut entry, user).with_context(|| format!("cluster {cluster}"))
    }

    /// The first of that name.
    fn take(&mut self, of: impl Fn(&mut File) -> &mut Vec<Named>, name: &str) -> Option<(PathBuf, Section)> {
        self.0.iter_mut().find_map(|(folder, file)| {
            let list = of(file);
            let at = list.iter().position(|named| named.name == name)?;
            Some((folder.clone(), list.swap_remove(at).entry))
        })
    }
}

/// The way to a cluster, for a user.
fn way_to(folder: &Path, entry: &mut Section, user: User) -> anyhow::Result<Way> {
    if entry.take("insecure-skip-tls-verify").map(yaml::Field::flag).transpose()? == Some(true) {
        bail!(
            "it has insecure-skip-tls-verify, and not just anybody is believed: put the CA into certificate-authority"
        );
    }
    if text(entry, "proxy-url")?.is_some() {
        bail!("it has proxy-url, which is not supported: take an address that is reached directly");
    }
    let server = text(entry, "server")?.context("it has no server")?;
    if server.contains('@') {
        bail!("its server has a user in it, which is not supported: who asks is said in the user's entry");
    }
    Ok(Way {
        server: server.parse().context("its server is not a URL")?,
        tls_name: text(entry, "tls-server-name")?,
        ca: match text(entry, "certificate-authority-data")? {
            Some(data) => decode(&data).context("its certificate-authority-data")?,
            None => match file(folder, entry, "certificate-authority")? {
                Some(path) => read(&path)?,
                None => bail!("it is not said which CA its certificate is of (certificate-authority)"),
            },
        },
        user,
    })
}

fn user(folder: &Path, entry: &mut Section) -> anyhow::Result<User> {
    if let Some(key) = IMPERSONATION.into_iter().find(|key| entry.take(key).is_some()) {
        bail!("it has {key}: to be somebody else is not supported");
    }
    // The file counts before the token, which it may have been made of.
    let token = match file(folder, entry, "tokenFile")? {
        Some(path) => Some(token(&path)?),
        None => {
            let token = text(entry, "token")?.unwrap_or_default();
            Some(Secret::new(token.trim())).filter(|token| !token.reveal().is_empty())
        }
    };
    let chain = match text(entry, "client-certificate-data")? {
        Some(data) => Some(decode(&data).context("its client-certificate-data")?),
        None => file(folder, entry, "client-certificate")?.map(|path| read(&path)).transpose()?,
    };
    let key = match text(entry, "client-key-data")? {
        Some(data) => {
            let key = String::from_utf8(decode(&data).context("its client-key-data")?).ok();
            Some(Secret::new(key.context("its client-key-data is not PEM")?))
        }
        None => file(folder, entry, "client-key")?.map(|path| secret(&path)).transpose()?,
    };
    let certificate = match (chain, key) {
        (Some(chain), Some(key)) => Some(Identity { chain, key }),
        (Some(_), None) => bail!("it has a client certificate without its key"),
        (None, _) => None,
    };
    if token.is_none() && certificate.is_none() {
        bail!("it has neither token, tokenFile nor client certificate, and others are not supported");
    }
    Ok(User { token, certificate })
}

/// A text; one that is empty is none.
fn text(entry: &mut Section, key: &str) -> Result<Option<String>, ConfigError> {
    let text = entry.take(key).map(yaml::Field::text).transpose()?;
    Ok(text.map(|text| text.as_str().to_owned()).filter(|text| !text.is_empty()))
}

fn file(folder: &Path, entry: &mut Section, key: &str) -> Result<Option<PathBuf>, ConfigError> {
    Ok(text(entry, key)?.map(|path| folder.join(path)))
}

/// Base64, in lines or not.
fn decode(data: &str) -> anyhow::Result<Vec<u8>> {
    let data: String = data.split_ascii_whitespace().collect();
    // Which byte is wrong would be told, and it may be one of a key.
    STANDARD.decode(data).ok().context("is not base64")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const CLUSTER: &str = "{server: 'https://a:6443', certificate-authority-data: Q0E=}";
    const USER: &str = "{token: hunter2}";

    fn config(cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\npreferences: {{}}\ncurrent-context: here\n\
             contexts:\n- name: there\n  context: {{cluster: a}}\n\
             - name: here\n  context: {{cluster: b, user: me, namespace: x}}\n\
             clusters:\n- cluster: {cluster}\n  name: b\nusers:\n- name: me\n  user: {user}\n"
        )
    }

    /// In files of a folder: what comes of all of them together.
    fn read_all(files: &[&str]) -> (TempDir, anyhow::Result<Way>) {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..files.len()).map(|at| folder.path().join(at.to_string())).collect();
        for (path, text) in paths.iter().zip(files) {
            fs::write(path, text).unwrap();
        }
        for name in ["ca", "token", "chain", "key"] {
            fs::write(folder.path().join(name), format!("{name}\n")).unwrap();
        }
        fs::write(folder.path().join("empty"), " \n").unwrap();
        let way = way(&std::env::join_paths(paths).unwrap());
        (folder, way)
    }

    fn read_one(cluster: &str, user: &str) -> Result<Way, String> {
        read_all(&[&config(cluster, user)]).1.map_err(|error| format!("{error:#}"))
    }

    fn certificate(chain: &str, key: &str) -> Option<Identity> {
        Some(Identity { chain: chain.into(), key: Secret::new(key) })
    }

    #[test]
    fn of_the_current_context() {
        let way = read_one(CLUSTER, USER).unwrap();
        assert_eq!(
            (way.server.to_string().as_str(), way.ca.as_slice()),
            ("https://a:6443/", b"CA".as_slice())
        );
        assert_eq!((way.tls_name, way.user.token), (None, Some(Secret::new("hunter2"))));
        let cluster = "{server: 'https://[::1]/k', certificate-authority: ca, tls-server-name: n, \
                        insecure-skip-tls-verify: false, proxy-url: '', disable-compression: true, extensions: [{name: x}]}";
        let way = read_one(cluster, USER).unwrap();
        assert_eq!(
            (way.server.path(), way.ca.as_slice(), way.tls_name.as_deref()),
            ("/k", b"ca\n".as_slice(), Some("n"))
        );
        for (user, token, identity) in [
            ("{tokenFile: token, token: x}", Some("token"), None),
            ("{token: x, exec: {command: y}}", Some("x"), None),
            ("{client-certificate: chain, client-key: key}", None, certificate("chain\n", "key\n")),
            (
                "{client-certificate: chain, client-certificate-data: \"Y2\\nhhaW4=\", client-key-data: a2V5, client-key: none}",
                None,
                certificate("chain", "key"),
            ),
            (
                "{client-certificate: chain, client-key: key, token: x}",
                Some("x"),
                certificate("chain\n", "key\n"),
            ),
        ] {
            let read = read_one(CLUSTER, user).unwrap().user;
            assert_eq!(read, User { token: token.map(Secret::new), certificate: identity }, "{user}");
        }
        // JSON is YAML, and so is what begins with a byte order mark.
        let json = r#"{"clusters": [{"name": "c", "cluster": {"server": "https://a", "certificate-authority-data": "Q0E="}}],
            "users": [{"name": "u", "user": {"token": "x"}}], "current-context": "d",
            "contexts": [{"name": "d", "context": {"cluster": "c", "user": "u"}}]}"#;
        for text in [json.to_owned(), format!("\u{feff}{}", config(CLUSTER, USER))] {
            assert_eq!(read_all(&[&text]).1.unwrap().server.host(), Some("a"));
        }
    }

    #[test]
    fn of_several_files_the_first_that_says_it() {
        let first = "current-context: here\nusers: [{name: me, user: {tokenFile: token}}, {name: other}]\nclusters:\n";
        let second =
            config(CLUSTER, "{token: second}").replace("current-context: here", "current-context: there");
        let (_folder, merged) = read_all(&["", first, &second]);
        assert_eq!(merged.unwrap().user.token, Some(Secret::new("token")));

        let (folder, _) = read_all(&[&config(CLUSTER, USER)]);
        let file = folder.path().join("0");
        let among = |paths: &[&Path]| way(&std::env::join_paths(paths).unwrap());
        assert!(among(&[Path::new("/none"), Path::new(""), &file]).is_ok());
        let error = format!("{:#}", among(&[Path::new("/none"), Path::new("/none2")]).unwrap_err());
        assert!(error.starts_with("cannot read /none: "), "{error}");
        assert_eq!(among(&[Path::new(""), Path::new("")]).unwrap_err().to_string(), "no file is named");
        assert!(among(&[&file, folder.path()]).is_err());
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_secret() {
        let ca = "certificate-authority: ca";
        for (cluster, user, error) in [
            ("{}", USER, "cluster b: it has no server"),
            ("", USER, "there is no cluster b, which context here has"),
            ("{server: 'https://a'}", USER, "cluster b: it is not said which CA"),
            ("{server: 'https://hunter2@a', certificate-authority: ca}", USER, "its server has a user in it"),
            ("{server: 'a b', certificate-authority: ca}", USER, "cluster b: its server is not a URL: "),
            ("{server: 'https://a', certificate-authority: /none}", USER, "cluster b: cannot read /none: "),
            (
                "{server: 'https://a', certificate-authority-data: '@'}",
                USER,
                "certificate-authority-data: is not base64",
            ),
            (
                &format!("{{server: 'https://a', {ca}, insecure-skip-tls-verify: true}}"),
                USER,
                "not just anybody",
            ),
            (
                &format!("{{server: 'https://a', {ca}, insecure-skip-tls-verify: x}}"),
                USER,
                "expected true or false",
            ),
            (&format!("{{server: 'https://a', {ca}, proxy-url: 'http://p'}}"), USER, "it has proxy-url"),
            (CLUSTER, "", "there is no user me, whom context here has"),
            (CLUSTER, "{username: hunter2, password: hunter2}", "user me: it has neither token"),
            (CLUSTER, "{exec: {command: hunter2}}", "user me: it has neither token"),
            (CLUSTER, "{token: hunter2, as: hunter2}", "user me: it has as: "),
            (CLUSTER, "{token: hunter2, as-groups: [hunter2]}", "user me: it has as-groups: "),
            (CLUSTER, "{token: ' '}", "user me: it has neither token"),
            (CLUSTER, "{token: [hunter2]}", "line 15, column 17: users.user.token: expected a text"),
            (CLUSTER, "{token: 12345}", "users.user.token: expected a text; write it in quotes"),
            (CLUSTER, "{tokenFile: empty}", "empty is empty, and a token is expected there"),
            (CLUSTER, "{client-certificate: chain}", "it has a client certificate without its key"),
            (
                CLUSTER,
                "{client-certificate: chain, client-key-data: hunter2}",
                "client-key-data: is not base64",
            ),
            (CLUSTER, "{token: hunter2", "not valid YAML"),
            (CLUSTER, "[hunter2]", "users.user: expected keys"),
        ] {
            let said = read_one(cluster, user).unwrap_err();
            assert!(said.contains(error) && !said.contains("hunter2"), "{error:?} in {said:?}");
        }
        for (text, error) in [
            ("", "there is no current-context"),
            ("current-context: x", "there is no context x, which is the current one"),
            ("current-context: x\ncontexts: [{name: x, context: {}}]", "context x has no cluster"),
            ("contexts: {}", "line 1, column 11: contexts: expected a list"),
            ("users:\n- user: {token: hunter2}", "line 2, column 3: users: it has no name"),
            ("a: 1\n---\nb: 1", "only one document is expected"),
        ] {
            let said = format!("{:#}", read_all(&[text]).1.unwrap_err());
            assert!(said.contains(error) && !said.contains("hunter2"), "{error:?} in {said:?}");
        }
        let shown = format!(
            "{:?}",
            read_one(CLUSTER, "{token: hunter2, client-certificate: chain, client-key: key}").unwrap()
        );
        assert!(!shown.contains("hunter2") && !shown.contains("key\\n"), "{shown}");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(
            text in "[a-z:{}\\[\\]\n ,'\"&*|@=-]{0,200}",
            cluster in "[a-z:{}\\[\\], '/@=-]{0,40}",
            user in "[a-zA-Z:{}\\[\\], '/@=-]{0,40}",
        ) {
            let _ = read_all(&[&text]);
            let _ = read_one(&cluster, &user);
        }
    }
}
