//! Settings from the environment. They are read here once, and nowhere else.

use modelpack::{Authorities, Certificates, Credentials, Proxies, ProxyUrl};
use std::{env, ffi::OsString, path::PathBuf};

/// The data directory for a process without a home directory.
const SYSTEM_DATA: &str = "/var/lib";

/// Settings that do not change between calls of the program.
#[derive(Clone)]
pub struct Settings {
    /// The directory of the local store.
    pub store: PathBuf,
    /// The credentials of Docker and Podman, which are used and stored in the same files.
    pub credentials: Credentials,
    /// Proxies.
    pub proxies: Proxies,
    /// Whose certificates are trusted.
    pub certificates: Certificates,
    /// The value of `MODELPACK_LOG`: the filter of the log without `--verbose`.
    pub log: Option<String>,
    /// The unparsed `SOURCE_DATE_EPOCH`.
    pub source_date_epoch: Option<String>,
    /// The directory for temporary files.
    pub scratch: PathBuf,
}

impl Settings {
    /// Reads the environment through `variable`. An empty variable counts as unset. `store`
    /// overrides the environment.
    pub fn read(store: Option<PathBuf>, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| variable(name).map(PathBuf::from);
        let text = |name: &str| variable(name).map(|value| value.to_string_lossy().into_owned());
        let either_case =
            |name: &str| [name.to_lowercase(), name.to_owned()].into_iter().find_map(|name| text(&name).map(|value| (name, value)));
        let proxy = |name: &str| either_case(name).map(|(setting, url)| ProxyUrl { url, setting });
        let home = path("HOME");
        let data = || {
            let own = path("XDG_DATA_HOME").or_else(|| home.as_ref().map(|home| home.join(".local/share")));
            own.unwrap_or_else(|| SYSTEM_DATA.into()).join("modelpack")
        };
        Self {
            store: store.or_else(|| path("MODELPACK_STORE")).unwrap_or_else(data),
            credentials: Credentials::in_files(login_files(path)),
            proxies: Proxies {
                https: proxy("HTTPS_PROXY"),
                http: proxy("HTTP_PROXY"),
                no_proxy: either_case("NO_PROXY").map(|(_, hosts)| hosts),
            },
            certificates: Certificates::default().authorities(authorities(variable)),
            log: text("MODELPACK_LOG"),
            source_date_epoch: text("SOURCE_DATE_EPOCH"),
            scratch: path("TMPDIR").unwrap_or_else(|| "/tmp".into()),
        }
    }
}

/// The authorities that replace those of the operating system, in the variables of OpenSSL.
fn authorities(variable: impl Fn(&str) -> Option<OsString>) -> Vec<Authorities> {
    let set = |setting: &str, paths: Vec<PathBuf>| Authorities { paths, setting: setting.to_owned() };
    let file = variable("SSL_CERT_FILE").map(|file| set("SSL_CERT_FILE", vec![file.into()]));
    let directories = variable("SSL_CERT_DIR").map(|list| env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect());
    let directories = directories.filter(|paths: &Vec<_>| !paths.is_empty()).map(|paths| set("SSL_CERT_DIR", paths));
    file.into_iter().chain(directories).collect()
}

/// The credential files in reading order. New credentials are stored in the first. Docker's file
/// comes before Podman's, because `login` has always used it. `REGISTRY_AUTH_FILE` replaces all of
/// them, as in Podman and related tools.
fn login_files(path: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    if let Some(file) = path("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let home = |below: &str| path("HOME").map(|home| home.join(below));
    let docker = path("DOCKER_CONFIG").or_else(|| home(".docker"));
    // Podman's location if the user has no session, as is usual for root.
    let session = || PathBuf::from(format!("/run/containers/{}", rustix::process::getuid().as_raw()));
    let runtime = path("XDG_RUNTIME_DIR").map_or_else(session, |runtime| runtime.join("containers"));
    let lasting = path("XDG_CONFIG_HOME").or_else(|| home(".config")).map(|config| config.join("containers"));
    let podman = [Some(runtime), lasting].into_iter().flatten().map(|directory| directory.join("auth.json"));
    docker.map(|directory| directory.join("config.json")).into_iter().chain(podman).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn files(environment: &[(&str, &str)]) -> Vec<String> {
        let find = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
        login_files(find).iter().map(|file| file.display().to_string()).collect()
    }

    #[test]
    fn credentials_are_in_the_files_of_docker_and_podman() {
        let all =
            [("HOME", "/h"), ("DOCKER_CONFIG", "/d"), ("XDG_RUNTIME_DIR", "/r"), ("XDG_CONFIG_HOME", "/c"), ("REGISTRY_AUTH_FILE", "/a")];
        assert_eq!(files(&all), ["/a"]);
        assert_eq!(files(&all[..4]), ["/d/config.json", "/r/containers/auth.json", "/c/containers/auth.json"]);
        let session = format!("/run/containers/{}/auth.json", rustix::process::getuid().as_raw());
        assert_eq!(files(&all[..1]), ["/h/.docker/config.json", &session, "/h/.config/containers/auth.json"]);
    }

    fn store(flag: Option<&str>, environment: &[(&str, &str)]) -> PathBuf {
        settings(flag, environment).store
    }

    fn settings(flag: Option<&str>, environment: &[(&str, &str)]) -> Settings {
        let find = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
        Settings::read(flag.map(PathBuf::from), find)
    }

    #[test]
    fn the_most_specific_setting_determines_the_store() {
        let all = [("HOME", "/home/a"), ("XDG_DATA_HOME", "/data"), ("MODELPACK_STORE", "/store")];
        assert_eq!(store(Some("flag"), &all), Path::new("flag"));
        assert_eq!(store(None, &all), Path::new("/store"));
        assert_eq!(store(None, &all[..2]), Path::new("/data/modelpack"));
        assert_eq!(store(None, &all[..1]), Path::new("/home/a/.local/share/modelpack"));
        assert_eq!(store(None, &[("MODELPACK_STORE", ""), ("HOME", "/h")]), Path::new("/h/.local/share/modelpack"), "empty is unset");
        assert_eq!(store(None, &[]), Path::new("/var/lib/modelpack"));
    }

    #[test]
    fn proxies_are_read_in_both_cases() {
        let environment = [("https_proxy", "http://a:1"), ("HTTPS_PROXY", "http://b:1"), ("HTTP_PROXY", "http://c:1"), ("NO_PROXY", "c")];
        let proxies = settings(None, &environment).proxies;
        let named = |proxy: Option<ProxyUrl>| proxy.map(|proxy| (proxy.setting, proxy.url));
        assert_eq!(named(proxies.https), Some(("https_proxy".to_owned(), "http://a:1".to_owned())));
        assert_eq!(named(proxies.http), Some(("HTTP_PROXY".to_owned(), "http://c:1".to_owned())));
        assert_eq!(proxies.no_proxy.as_deref(), Some("c"));
    }
}
