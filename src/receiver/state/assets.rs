//! Assets. Their names are unique, whatever the case of the letters.

use super::{Numbered, Registry, State, id_of, now};
use crate::receiver::error::{RegistryError, clipped};
use prost::Message;
use sift_rs::assets::v1::{Asset, CreateAssetRequest};

impl State {
    /// The id of the asset of that name; it is made if there is none.
    pub(super) fn ensure_asset(&mut self, name: &str) -> Result<String, RegistryError> {
        let id = id_of("asset", &[&name.to_lowercase()]);
        if !self.assets.contains_key(&id) {
            let request = CreateAssetRequest { name: name.to_owned(), ..Default::default() };
            self.insert_asset(&id, &request)?;
        }
        Ok(id)
    }

    fn insert_asset(&mut self, id: &str, request: &CreateAssetRequest) -> Result<Asset, RegistryError> {
        let created = now();
        let asset = Asset {
            asset_id: id.to_owned(),
            name: request.name.clone(),
            organization_id: self.organization_id.clone(),
            created_date: Some(created),
            modified_date: Some(created),
            tags: request.tags.clone(),
            metadata: request.metadata.clone(),
            ..Default::default()
        };
        self.charge(measure(&asset))?;
        let number = self.number();
        let item = asset.clone();
        self.assets.insert(id.to_owned(), Numbered { number, item });
        Ok(asset)
    }

    fn asset_mut(&mut self, id: &str) -> Result<&mut Asset, RegistryError> {
        let known = self.assets.get_mut(id).map(|asset| &mut asset.item);
        known.ok_or_else(|| RegistryError::not_found("asset", id))
    }
}

/// What an asset is charged with, whether it is archived or not.
fn measure(asset: &Asset) -> usize {
    Asset { is_archived: false, archived_date: None, ..asset.clone() }.encoded_len()
}

fn set_archived(asset: &mut Asset, archived: bool) {
    asset.is_archived = archived;
    asset.archived_date = archived.then(|| asset.archived_date.unwrap_or_else(now));
}

impl Registry {
    pub(in crate::receiver) fn create_asset(&self, request: &CreateAssetRequest) -> Result<Asset, RegistryError> {
        if request.name.is_empty() {
            let text = "the asset has no name; give `name`";
            return Err(RegistryError::Invalid(text.to_owned()));
        }
        let mut state = self.state();
        let id = id_of("asset", &[&request.name.to_lowercase()]);
        if state.assets.contains_key(&id) {
            return Err(RegistryError::exists("an asset named", &request.name));
        }
        state.insert_asset(&id, request)
    }

    pub(in crate::receiver) fn asset(&self, id: &str) -> Result<Asset, RegistryError> {
        self.state().asset_mut(id).cloned()
    }

    /// All assets, in no particular order.
    pub(in crate::receiver) fn assets(&self) -> Vec<Numbered<Asset>> {
        self.state().assets.values().cloned().collect()
    }

    /// Changes the fields that `mask` names; nothing, if it names one that can't be changed.
    pub(in crate::receiver) fn update_asset(&self, update: &Asset, mask: &[String]) -> Result<Asset, RegistryError> {
        let mut state = self.state();
        let mut asset = state.asset_mut(&update.asset_id)?.clone();
        for path in mask {
            match path.as_str() {
                "tags" => asset.tags.clone_from(&update.tags),
                "metadata" => asset.metadata.clone_from(&update.metadata),
                "is_archived" => set_archived(&mut asset, update.is_archived),
                "archived_date" => {
                    asset.archived_date = update.archived_date;
                    asset.is_archived = update.archived_date.is_some();
                }
                other => {
                    return Err(RegistryError::Invalid(format!(
                        "the field {:?} of an asset can't be updated; those that can are tags, metadata, archived_date and is_archived",
                        clipped(other)
                    )));
                }
            }
        }
        asset.modified_date = Some(now());
        state.charge(measure(&asset))?;
        let replaced = std::mem::replace(state.asset_mut(&update.asset_id)?, asset.clone());
        state.refund(measure(&replaced));
        Ok(asset)
    }

    /// Archives an asset and, if asked to, the runs that belong to it; returns the ids of those.
    pub(in crate::receiver) fn archive_asset(
        &self,
        id: &str,
        archive_runs: bool,
    ) -> Result<Vec<String>, RegistryError> {
        let mut state = self.state();
        set_archived(state.asset_mut(id)?, true);
        let mut archived = Vec::new();
        if archive_runs {
            for Numbered { item, .. } in state.runs.values_mut() {
                let run = &mut item.run;
                if run.asset_ids.iter().any(|asset_id| asset_id == id) && !run.is_archived {
                    run.is_archived = true;
                    run.archived_date = Some(now());
                    archived.push(run.run_id.clone());
                }
            }
        }
        archived.sort_unstable();
        Ok(archived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_changes_what_the_mask_names_or_nothing_at_all() {
        let registry = Registry::new();
        let request =
            CreateAssetRequest { name: "rover".into(), tags: vec!["old".into()], ..CreateAssetRequest::default() };
        let made = registry.create_asset(&request).unwrap();
        let update = Asset { tags: vec!["new".into()], name: "not asked for".into(), ..made.clone() };
        let changed = registry.update_asset(&update, &["tags".into()]).unwrap();
        assert_eq!((changed.name.as_str(), &changed.tags), ("rover", &update.tags));
        let refused = "x".repeat(100_000);
        let error = registry.update_asset(&made, &["tags".into(), refused]).unwrap_err();
        assert!(matches!(error, RegistryError::Invalid(_)));
        assert!(error.to_string().len() < 1000, "it has to fit into a header");
        assert_eq!(registry.asset(&made.asset_id).unwrap(), changed);
    }
}
