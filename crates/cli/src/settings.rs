//! Settings from the environment. They are read here once, and nowhere else.

use modelpack::{Authorities, Certificates, Credentials, Proxies, ProxyUrl, RegistriesFile};
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The data directory for a process without a home directory.
const SYSTEM_DATA: &str = "/var/lib";

/// Settings that do not change between calls of the program.
#[derive(Clone)]
pub struct Settings {
    /// The directory of the local store.
    pub store: PathBuf,
    /// The directory of the cache of this node.
    pub cache: PathBuf,
    /// The credentials of Docker and Podman, which are used and stored in the same files.
    pub credentials: Credentials,
    /// Proxies.
    pub proxies: Proxies,
    /// Whose certificates are trusted, and which ones are shown.
    pub certificates: Certificates,
    /// The files that describe registries, which are those of Podman and its relatives.
    pub registries: Vec<RegistriesFile>,
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
        let store = store.or_else(|| path("MODELPACK_STORE")).unwrap_or_else(data);
        Self {
            cache: path("MODELPACK_CACHE").unwrap_or_else(|| beside(&store)),
            store,
            credentials: Credentials::in_files(login_files(path)),
            proxies: Proxies {
                https: proxy("HTTPS_PROXY").or_else(|| proxy("ALL_PROXY")),
                http: proxy("HTTP_PROXY").or_else(|| proxy("ALL_PROXY")),
                no_proxy: either_case("NO_PROXY").map(|(_, hosts)| hosts),
            },
            certificates: Certificates::default().authorities(authorities(variable)).directories(certificate_directories(path)),
            registries: registries_files(path),
            log: text("MODELPACK_LOG"),
            source_date_epoch: text("SOURCE_DATE_EPOCH"),
            scratch: path("TMPDIR").unwrap_or_else(|| "/tmp".into()),
        }
    }
}

/// The directory of the cache beside that of the store, with `-cache` at the end of its name.
fn beside(store: &Path) -> PathBuf {
    let name = store.file_name().map(|name| {
        let mut name = name.to_owned();
        name.push("-cache");
        name
    });
    // The root of a file system, and `..`, have no name.
    name.map_or_else(|| store.join("cache"), |name| store.with_file_name(name))
}

/// The authorities that replace those of the operating system, in the variables of OpenSSL.
fn authorities(variable: impl Fn(&str) -> Option<OsString>) -> Vec<Authorities> {
    let set = |setting: &str, paths: Vec<PathBuf>| Authorities { paths, setting: setting.to_owned() };
    let file = variable("SSL_CERT_FILE").map(|file| set("SSL_CERT_FILE", vec![file.into()]));
    let directories = variable("SSL_CERT_DIR").map(|list| env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect());
    let directories = directories.filter(|paths: &Vec<_>| !paths.is_empty()).map(|paths| set("SSL_CERT_DIR", paths));
    file.into_iter().chain(directories).collect()
}

/// The directories with certificates for single registries: those of Podman and its relatives, then
/// those of Docker, each time the user's before the system's.
fn certificate_directories(path: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let own = path("XDG_CONFIG_HOME").or_else(|| path("HOME").map(|home| home.join(".config")));
    let bases: Vec<PathBuf> = own.into_iter().chain(["/etc".into()]).collect();
    let of_tool = |tool: &str| bases.iter().map(|base| base.join(tool).join("certs.d")).collect::<Vec<_>>();
    ["containers", "docker"].into_iter().flat_map(of_tool).collect()
}

/// The files that describe registries, in reading order: the main file, then the files beside it that
/// add to it. The user's main file replaces all files of the system, as in Podman.
fn registries_files(path: impl Fn(&str) -> Option<PathBuf>) -> Vec<RegistriesFile> {
    let own = path("XDG_CONFIG_HOME").or_else(|| path("HOME").map(|home| home.join(".config")));
    let own = own.map(|config| config.join("containers/registries.conf"));
    let system = PathBuf::from("/etc/containers/registries.conf");
    let existing = |path: &PathBuf| path.is_file();
    let (main, beside) = match (path("CONTAINERS_REGISTRIES_CONF"), own) {
        (Some(path), own) => {
            let named_by = Some("CONTAINERS_REGISTRIES_CONF".to_owned());
            (Some(RegistriesFile { path, named_by }), [Some(system), own])
        }
        (None, Some(own)) if own.is_file() => (Some(RegistriesFile::at(&own)), [Some(own), None]),
        (None, own) => (Some(&system).filter(|path| existing(path)).map(RegistriesFile::at), [Some(system.clone()), own]),
    };
    main.into_iter().chain(beside.into_iter().flatten().flat_map(|main| drop_ins(&main.with_extension("conf.d")))).collect()
}

/// The files `*.conf` in a directory, in the order of their names. A directory that cannot be read has none.
fn drop_ins(directory: &Path) -> Vec<RegistriesFile> {
    let entries = directory.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|extension| extension == "conf")).collect();
    files.sort();
    files.into_iter().map(RegistriesFile::at).collect()
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

    #[test]
    fn certificates_are_in_the_directories_of_podman_and_docker() {
        let directories = |environment: &[(&str, &str)]| {
            let found = settings(None, environment).certificates.directories;
            found.iter().map(|directory| directory.display().to_string()).collect::<Vec<_>>()
        };
        let system = ["/etc/containers/certs.d".to_owned(), "/etc/docker/certs.d".to_owned()];
        assert_eq!(directories(&[]), system);
        let own = ["/h/.config/containers/certs.d", "/etc/containers/certs.d", "/h/.config/docker/certs.d", "/etc/docker/certs.d"];
        assert_eq!(directories(&[("HOME", "/h")]), own);
        assert_eq!(directories(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c")])[0], "/c/containers/certs.d");
    }

    #[test]
    fn the_variables_of_openssl_name_the_authorities() {
        let authorities = |environment: &[(&str, &str)]| {
            let found = settings(None, environment).certificates.authorities;
            found.into_iter().map(|authorities| (authorities.setting, authorities.paths)).collect::<Vec<_>>()
        };
        let environment = [("SSL_CERT_FILE", "/a.pem"), ("SSL_CERT_DIR", "/b::/c")];
        let set = |setting: &str, paths: &[&str]| (setting.to_owned(), paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(authorities(&environment), [set("SSL_CERT_FILE", &["/a.pem"]), set("SSL_CERT_DIR", &["/b", "/c"])]);
        assert_eq!(authorities(&[("SSL_CERT_FILE", ""), ("SSL_CERT_DIR", ":")]), []);
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
    fn the_cache_is_beside_the_store() {
        let cache = |flag: Option<&str>, environment: &[(&str, &str)]| settings(flag, environment).cache;
        assert_eq!(cache(None, &[("HOME", "/home/a")]), Path::new("/home/a/.local/share/modelpack-cache"));
        assert_eq!(cache(Some("models/store"), &[("HOME", "/home/a")]), Path::new("models/store-cache"));
        assert_eq!(cache(Some("/"), &[]), Path::new("/cache"));
        assert_eq!(cache(Some(".."), &[]), Path::new("../cache"));
        assert_eq!(cache(Some("store"), &[("MODELPACK_CACHE", "/cache")]), Path::new("/cache"));
    }

    #[test]
    fn proxies_are_read_in_both_cases() {
        let environment = [("https_proxy", "http://a:1"), ("HTTPS_PROXY", "http://b:1"), ("HTTP_PROXY", "http://c:1"), ("NO_PROXY", "c")];
        let proxies = settings(None, &environment).proxies;
        let named = |proxy: Option<ProxyUrl>| proxy.map(|proxy| (proxy.setting, proxy.url));
        let all = settings(None, &[("all_proxy", "socks5h://d:1"), ("HTTP_PROXY", "http://c:1")]).proxies;
        assert_eq!(named(all.https), Some(("all_proxy".to_owned(), "socks5h://d:1".to_owned())));
        assert_eq!(named(all.http).map(|(setting, _)| setting).as_deref(), Some("HTTP_PROXY"));
        assert_eq!(named(proxies.https), Some(("https_proxy".to_owned(), "http://a:1".to_owned())));
        assert_eq!(named(proxies.http), Some(("HTTP_PROXY".to_owned(), "http://c:1".to_owned())));
        assert_eq!(proxies.no_proxy.as_deref(), Some("c"));
    }
}
