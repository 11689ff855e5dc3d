//! A bucket that works but for one thing.

use futures_util::stream::{self, BoxStream, StreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::pin::Pin;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// As S3 without the right to list: a missing object is one that may not be read.
    HidesWhatIsMissing,
    /// Each object that is read breaks off in the middle.
    BreaksOff,
}

#[derive(Debug)]
pub(super) struct Moody {
    inner: InMemory,
    mood: Mood,
}

type Call<'b, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'b>>;

impl Moody {
    pub(super) fn new(mood: Mood) -> Moody {
        Moody { inner: InMemory::new(), mood }
    }

    async fn get(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let got = self.inner.get_opts(location, options).await;
        match (self.mood, got) {
            (Mood::HidesWhatIsMissing, Err(Error::NotFound { path, .. })) => {
                Err(Error::PermissionDenied { path, source: "403 Forbidden".into() })
            }
            (Mood::BreaksOff, Ok(got)) => {
                let (meta, range, attributes) = (got.meta.clone(), got.range.clone(), got.attributes.clone());
                let extensions = got.extensions.clone();
                let bytes = got.bytes().await?;
                let half = bytes.slice(..bytes.len() / 2);
                let broken = Error::Generic { store: "moody", source: "connection reset".into() };
                let payload = GetResultPayload::Stream(stream::iter([Ok(half), Err(broken)]).boxed());
                Ok(GetResult { payload, meta, range, attributes, extensions })
            }
            (_, got) => got,
        }
    }
}

impl fmt::Display for Moody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("moody")
    }
}

// As the macro async_trait writes it.
impl ObjectStore for Moody {
    fn put_opts<'a, 'l, 'b>(&'a self, location: &'l Path, payload: PutPayload, opts: PutOptions) -> Call<'b, PutResult>
    where
        'a: 'b,
        'l: 'b,
        Self: 'b,
    {
        Box::pin(self.inner.put_opts(location, payload, opts))
    }

    fn put_multipart_opts<'a, 'l, 'b>(
        &'a self,
        location: &'l Path,
        opts: PutMultipartOptions,
    ) -> Call<'b, Box<dyn MultipartUpload>>
    where
        'a: 'b,
        'l: 'b,
        Self: 'b,
    {
        Box::pin(self.inner.put_multipart_opts(location, opts))
    }

    fn get_opts<'a, 'l, 'b>(&'a self, location: &'l Path, options: GetOptions) -> Call<'b, GetResult>
    where
        'a: 'b,
        'l: 'b,
        Self: 'b,
    {
        Box::pin(self.get(location, options))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_delimiter<'a, 'l, 'b>(&'a self, prefix: Option<&'l Path>) -> Call<'b, ListResult>
    where
        'a: 'b,
        'l: 'b,
        Self: 'b,
    {
        Box::pin(self.inner.list_with_delimiter(prefix))
    }

    fn copy_opts<'a, 'f, 't, 'b>(&'a self, from: &'f Path, to: &'t Path, options: CopyOptions) -> Call<'b, ()>
    where
        'a: 'b,
        'f: 'b,
        't: 'b,
        Self: 'b,
    {
        Box::pin(self.inner.copy_opts(from, to, options))
    }
}
