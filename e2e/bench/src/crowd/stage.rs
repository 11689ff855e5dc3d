//! What the electors find at the API server: their namespace and rights, a Lease and an account for each app, a pod and a
//! token for each member. All of it is in one namespace, which is deleted at the end.
//!
//! Each app has an account of its own, as apps have: the API server queues the requests of each account separately.

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
};

use anyhow::Context;
use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    coordination::v1::Lease,
    core::v1::{Namespace, Pod, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{control_plane::ControlPlane, kubeconfig::kubeconfig};

/// How many requests are on their way at once.
const CLIENTS: usize = 32;
const ROLE: &str = "crowd";
/// The tokens outlive every run, and end by themselves where the run cannot delete the account.
const TOKEN_SECONDS: i64 = 4 * 3600;

/// See the module.
pub(super) struct Stage {
    pub(super) namespace: String,
    /// A kubeconfig for each member: `app-00007-1.kubeconfig`.
    pub(super) kubeconfigs: PathBuf,
    client: Client,
    /// Deleted with the folder.
    _folder: tempfile::TempDir,
}

/// The Lease of an app.
pub(super) fn lease_name(app: usize) -> String {
    format!("app-{app:05}")
}

/// The pod of a member, and its name as a contender.
pub(super) fn member_name(app: usize, member: usize) -> String {
    format!("{}-{member}", lease_name(app))
}

impl Stage {
    /// Nothing is made yet.
    pub(super) fn new(plane: &ControlPlane) -> anyhow::Result<Stage> {
        let namespace = format!("leasehold-crowd-{}", std::process::id());
        let folder = tempfile::Builder::new().prefix("leasehold-crowd-").tempdir()?;
        Ok(Stage { namespace, kubeconfigs: folder.path().to_owned(), client: plane.client.clone(), _folder: folder })
    }

    /// Makes everything.
    pub(super) async fn set(&self, plane: &ControlPlane, apps: usize, members: usize) -> anyhow::Result<()> {
        let meta = |name: &str| json!({"name": name});
        let every: Api<Namespace> = Api::all(self.client.clone());
        create(&every, &json!({"metadata": meta(&self.namespace)})).await?;
        create(&self.api::<Role>(), &json!({"metadata": meta(ROLE), "rules": rights()})).await?;
        let group = "rbac.authorization.k8s.io";
        let accounts = format!("system:serviceaccounts:{}", self.namespace);
        let subject = json!({"kind": "Group", "name": accounts, "apiGroup": group});
        let role = json!({"apiGroup": group, "kind": "Role", "name": ROLE});
        let binding = json!({"metadata": meta(ROLE), "subjects": [subject], "roleRef": role});
        create(&self.api::<RoleBinding>(), &binding).await?;
        let mut works = JoinSet::new();
        for app in 0..apps {
            if works.len() >= CLIENTS {
                works.join_next().await.context("no work is on its way")???;
            }
            works.spawn(one(self.app(plane), app, members));
        }
        while let Some(done) = works.join_next().await {
            done??;
        }
        Ok(())
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn app(&self, plane: &ControlPlane) -> App {
        App {
            leases: self.api(),
            pods: self.api(),
            accounts: self.api(),
            folder: self.kubeconfigs.clone(),
            url: plane.url.clone(),
            authority: plane.authority.clone(),
        }
    }

    /// Removes all of it from the API server.
    pub(super) async fn clear(&self) -> anyhow::Result<()> {
        let every: Api<Namespace> = Api::all(self.client.clone());
        match every.delete(&self.namespace, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error).with_context(|| format!("delete the namespace {} by hand", self.namespace)),
        }
    }
}

/// What making an app's objects needs.
struct App {
    leases: Api<Lease>,
    pods: Api<Pod>,
    accounts: Api<ServiceAccount>,
    folder: PathBuf,
    url: String,
    authority: String,
}

async fn one(to: App, app: usize, members: usize) -> anyhow::Result<()> {
    let account = lease_name(app);
    create(&to.accounts, &json!({"metadata": {"name": account}})).await?;
    // As a manifest has it: nobody holds it.
    create(&to.leases, &json!({"metadata": {"name": lease_name(app)}, "spec": {}})).await?;
    for member in 0..members {
        let name = member_name(app, member);
        // The gate keeps it from ever running: the electors are elsewhere. It is there for its label.
        let spec = json!({
            "serviceAccountName": account, "automountServiceAccountToken": false,
            "schedulingGates": [{"name": "leasehold.dev/bench"}],
            "containers": [{"name": "app", "image": "none.invalid/none"}],
        });
        create(&to.pods, &json!({"metadata": {"name": name}, "spec": spec})).await?;
        let wish: TokenRequest =
            serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": TOKEN_SECONDS}}))?;
        let made = to.accounts.create_token_request(&account, &PostParams::default(), &wish).await;
        let made = made.context("cannot get a token for an elector")?;
        let token = made.status.context("the API server's answer has no token")?.token;
        write(&to.folder, &name, &kubeconfig(&to.url, &to.authority, &name, &token))?;
    }
    Ok(())
}

async fn create<K>(api: &Api<K>, object: &Value) -> anyhow::Result<()>
where
    K: Clone + Debug + Serialize + DeserializeOwned,
{
    let object: K = serde_json::from_value(object.clone())?;
    api.create(&PostParams::default(), &object).await.context("cannot prepare the API server")?;
    Ok(())
}

/// What `sidecar inject` grants, for all Leases and pods of the namespace.
fn rights() -> Value {
    json!([
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
         "verbs": ["get", "list", "watch", "create", "update"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch"]},
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
    ])
}

fn write(folder: &Path, name: &str, kubeconfig: &Value) -> anyhow::Result<()> {
    let file = folder.join(format!("{name}.kubeconfig"));
    std::fs::write(&file, kubeconfig.to_string()).with_context(|| format!("cannot write {}", file.display()))
}
