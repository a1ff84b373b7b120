//! The HTTP client for a registry.
//!
//! Redirects, repeats and authentication are decided by this crate: the client does none of them.

use std::time::Duration;

use ::http::Uri;
use reqwest::{Client, Proxy, Url};

use super::tls::tls;
use crate::settings::{RegistrySettings, SettingsError};

/// Shorter than servers and proxies keep an idle connection, so that a request seldom meets one that is being closed.
const KEEP_IDLE: Duration = Duration::from_secs(20);

/// The client.
pub(crate) fn client(settings: &RegistrySettings) -> Result<Client, SettingsError> {
    let proxies = settings.proxies.clone();
    // An invalid address is reported for the registry itself, when the settings are checked.
    let proxy_to = move |url: &Url| -> Option<Url> {
        let proxy = proxies.proxy_to(&url.as_str().parse::<Uri>().ok()?).ok()??;
        proxy.to_string().parse().ok()
    };
    Client::builder()
        .user_agent(concat!("snapwatcher/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .no_proxy()
        .proxy(Proxy::custom(proxy_to))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_idle_timeout(KEEP_IDLE)
        .connect_timeout(settings.times.connect)
        .tls_backend_preconfigured(tls(settings.ca_file.as_deref())?)
        .build()
        .map_err(SettingsError::Client)
}
