//! Reads and writes the objects of a continuous backup, in a folder or in an S3-compatible store.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, RetryConfig};

use super::error::BackupError;
use super::http_connector::OwnConnector;
use crate::config::{BackupLocation, S3Settings, SecretRef};
use crate::net::{AddressPolicy, HttpClient};

/// Number of objects that are removed at the same time.
const PARALLEL_REQUESTS: usize = 16;
/// Retries of one request by `object_store` itself. The tasks of the backup try again anyway.
const RETRIES: usize = 2;
/// Maximum time for these retries.
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

/// Place of the objects. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct RemoteStore {
    store: Arc<dyn ObjectStore>,
    /// Beginning of all names, without a slash at its end.
    prefix: String,
    /// Place as in the config, for messages.
    label: String,
}

impl RemoteStore {
    /// Opens the place. A missing folder is created if `creates` is `true`.
    pub(super) fn open(
        location: &BackupLocation,
        s3: &S3Settings,
        creates: bool,
    ) -> Result<Self, BackupError> {
        let label = location.to_string();
        let failed = |source| BackupError::Remote {
            action: "open",
            name: location.to_string(),
            source,
        };
        let (store, prefix): (Arc<dyn ObjectStore>, _) = match location {
            BackupLocation::Folder(path) => {
                if creates {
                    fs::create_dir_all(path).map_err(BackupError::file("create", path))?;
                } else if !path.is_dir() {
                    return Err(BackupError::NoBackup(path.clone()));
                }
                let store = LocalFileSystem::new_with_prefix(path).map_err(failed)?;
                (Arc::new(store.with_fsync(true)), String::new())
            }
            BackupLocation::Bucket { bucket, prefix } => {
                let store = open_bucket(bucket, s3)?.build().map_err(failed)?;
                (Arc::new(store), prefix.clone())
            }
        };
        Ok(Self {
            store,
            prefix,
            label,
        })
    }

    /// Returns the place as in the config.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    fn path(&self, name: &str) -> ObjectPath {
        if self.prefix.is_empty() {
            ObjectPath::from(name)
        } else {
            ObjectPath::from(format!("{}/{name}", self.prefix))
        }
    }

    fn failed(
        &self,
        action: &'static str,
        name: &str,
    ) -> impl Fn(object_store::Error) -> BackupError + use<> {
        let name = format!("{}/{name}", self.label);
        move |source| BackupError::Remote {
            action,
            name: name.clone(),
            source,
        }
    }

    /// Writes an object. It exists completely, or not at all.
    pub(super) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), BackupError> {
        let put = self.store.put(&self.path(name), bytes.into()).await;
        put.map(drop).map_err(self.failed("write", name))
    }

    pub(super) async fn get(&self, name: &str) -> Result<Bytes, BackupError> {
        let failed = self.failed("read", name);
        let object = self.store.get(&self.path(name)).await.map_err(&failed)?;
        object.bytes().await.map_err(failed)
    }

    /// Reads objects, `parallel` at the same time, and passes them to `each` in order.
    pub(super) async fn get_all(
        &self,
        names: Vec<String>,
        parallel: usize,
        mut each: impl FnMut(&str, Bytes) -> Result<bool, BackupError>,
    ) -> Result<(), BackupError> {
        let get = |name: String| async move {
            let bytes = self.get(&name).await;
            (name, bytes)
        };
        let mut objects = futures_util::stream::iter(names)
            .map(get)
            .buffered(parallel);
        while let Some((name, bytes)) = objects.next().await {
            if !each(&name, bytes?)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Lists all names below `folder`, relative to it and in order. With `after`, only the names
    /// behind that one.
    pub(super) async fn list(
        &self,
        folder: &str,
        after: Option<&str>,
    ) -> Result<Vec<String>, BackupError> {
        let path = self.path(folder);
        let objects = match after {
            Some(after) => {
                let offset = self.path(&format!("{folder}/{after}"));
                self.store.list_with_offset(Some(&path), &offset)
            }
            None => self.store.list(Some(&path)),
        };
        let relative = |location: &ObjectPath| {
            let name = location.as_ref().strip_prefix(path.as_ref());
            name.map(|name| name.trim_start_matches('/').to_owned())
        };
        let names = objects.try_filter_map(|object| {
            let name = relative(&object.location);
            async move { Ok(name) }
        });
        let mut names: Vec<String> = names
            .try_collect()
            .await
            .map_err(self.failed("list", folder))?;
        names.sort_unstable();
        Ok(names)
    }

    /// Lists the names of the folders in `folder`.
    pub(super) async fn list_folders(&self, folder: &str) -> Result<Vec<String>, BackupError> {
        let path = self.path(folder);
        let listed = self.store.list_with_delimiter(Some(&path)).await;
        let folders = listed.map_err(self.failed("list", folder))?.common_prefixes;
        let names = folders.iter().filter_map(ObjectPath::filename);
        Ok(names.map(str::to_owned).collect())
    }

    /// Removes objects. An object that does not exist is no error.
    pub(super) async fn remove_all(&self, names: Vec<String>) -> Result<(), BackupError> {
        let remove = |name: String| async move {
            match self.store.delete(&self.path(&name)).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                removed => removed.map_err(self.failed("remove", &name)),
            }
        };
        let removals = futures_util::stream::iter(names).map(remove);
        removals
            .buffer_unordered(PARALLEL_REQUESTS)
            .try_collect()
            .await
    }
}

fn open_bucket(bucket: &str, s3: &S3Settings) -> Result<AmazonS3Builder, BackupError> {
    let client = HttpClient::new(AddressPolicy::Any)?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(&s3.region)
        .with_access_key_id(resolve("access_key_id", &s3.access_key_id)?)
        .with_secret_access_key(resolve("secret_access_key", &s3.secret_access_key)?)
        .with_http_connector(OwnConnector(client))
        .with_retry(RetryConfig {
            max_retries: RETRIES,
            retry_timeout: RETRY_TIMEOUT,
            ..RetryConfig::default()
        })
        // Not all stores have it.
        .with_disable_bulk_delete(true);
    if let Some(endpoint) = &s3.endpoint {
        // The config permits http:// only to this machine.
        builder = builder
            .with_endpoint(endpoint)
            .with_allow_http(endpoint.starts_with("http://"));
    }
    Ok(builder)
}

fn resolve(key: &'static str, secret: &SecretRef) -> Result<String, BackupError> {
    let value = secret
        .resolve()?
        .ok_or_else(|| BackupError::NoCredentials {
            key,
            location: secret.location(),
        })?;
    Ok(value.expose().clone())
}
