//! The node's devices and addresses, over rtnetlink.
//!
//! Source: rtnetlink(7), `include/uapi/linux/if_addr.h`.

mod error;
pub mod message;

use std::time::Duration;

use futures_util::TryStreamExt;
use netlink_packet_route::{AddressFamily, link::LinkExtentMask};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec};
use tokio::task::JoinHandle;

pub use self::error::AddressError;
use crate::{
    plan::{AddressChange, Link, Present},
    wanted::InterfaceName,
};

/// How long the kernel may take over one request.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// A connection to the kernel, which stays open. Needs a current-thread runtime for as long as it lives.
#[derive(Debug, Default)]
pub struct Netlink {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Netlink {
    /// The connection, opened at the first use and after it broke.
    fn handle(&mut self) -> Result<Handle, AddressError> {
        if let Some(open) = self.open.as_ref().filter(|open| !open.connection.is_finished()) {
            return Ok(open.handle.clone());
        }
        // Strict: the kernel lists the addresses of one device only. Before 4.20 it does not know how.
        let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()
            .or_else(|_| rtnetlink::new_connection())
            .map_err(AddressError::Open)?;
        self.open = Some(Open { handle: handle.clone(), connection: tokio::spawn(connection) });
        Ok(handle)
    }

    /// Waits for an answer. A connection that fails just ends the stream of answers, which would look like an empty
    /// one, or like success.
    async fn ask<T>(
        &mut self,
        action: impl Fn() -> String,
        answer: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<T, AddressError> {
        let none = |what| AddressError::NoAnswer { action: action(), what };
        let broken = |open: &Open| open.connection.is_finished();
        let outcome = match tokio::time::timeout(TIME_LIMIT, answer).await {
            Err(_) => Err(none("the kernel did not answer within 5 s")),
            Ok(_) if self.open.as_ref().is_none_or(broken) => Err(none("the netlink connection broke off")),
            Ok(answer) => answer.map_err(|error| AddressError::new(action(), error)),
        };
        if outcome.as_ref().is_err_and(AddressError::is_of_connection) {
            self.open = None;
        }
        outcome
    }

    /// Looks a device up by its name.
    ///
    /// # Errors
    /// [`AddressError::NoInterface`] when there is none.
    pub async fn link(&mut self, name: &InterfaceName) -> Result<Link, AddressError> {
        let action = || format!("look up interface {name}");
        let request = self.handle()?.link().get().match_name(name.as_str().to_owned());
        let mut links =
            request.set_filter_mask(AddressFamily::Unspec, vec![LinkExtentMask::SkipStats]).execute();
        match self.ask(action, links.try_next()).await {
            Ok(Some(message)) => Ok(message::link_of(&message)),
            Ok(None) => Err(AddressError::NoAnswer { action: action(), what: "the answer was empty" }),
            Err(error) if error.errno() == Some(nix::libc::ENODEV) => {
                Err(AddressError::NoInterface(name.clone()))
            }
            Err(error) => Err(error),
        }
    }

    /// The name of a device.
    ///
    /// # Errors
    /// When there is none of that number any more.
    pub async fn name(&mut self, index: u32) -> Result<Option<InterfaceName>, AddressError> {
        let mut links = self.handle()?.link().get().match_index(index).execute();
        let message = self.ask(|| format!("look up device {index}"), links.try_next()).await?;
        Ok(message.as_ref().and_then(message::name_of))
    }

    /// Makes a dummy device of that name, marks it as ours and brings it up.
    ///
    /// # Errors
    /// [`AddressError::NoDummy`] when the kernel has no driver for it.
    pub async fn create_device(&mut self, name: &InterfaceName) -> Result<(), AddressError> {
        let action = || format!("create the dummy device {name}");
        let request = self.handle()?.link().add(message::new_device(name)).execute();
        match self.ask(action, request).await {
            Ok(()) => {}
            Err(error) if error.errno() == Some(nix::libc::EOPNOTSUPP) => {
                return Err(AddressError::NoDummy(name.clone()));
            }
            // Another instance was quicker, and marks it.
            Err(error) if error.errno() == Some(nix::libc::EEXIST) => return Ok(()),
            Err(error) => return Err(error),
        }
        let request = self.handle()?.link().set(message::mark_device(name)).execute();
        let marked = self.ask(|| format!("mark the device {name}"), request).await;
        if marked.is_err() {
            // Without the mark nobody would ever remove it.
            let link = self.link(name).await?;
            self.remove_device(link).await?;
        }
        marked
    }

    /// Removes a device, and all that is on it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_device(&mut self, link: Link) -> Result<(), AddressError> {
        let request = self.handle()?.link().del(link.index).execute();
        self.ask(|| "remove the device".to_owned(), request).await
    }

    /// The addresses on a device, or on all of them, of both families.
    ///
    /// # Errors
    /// When the dump fails.
    pub async fn addresses(&mut self, on: Option<Link>) -> Result<Vec<Present>, AddressError> {
        let mut request = self.handle()?.address().get();
        if let Some(link) = on {
            request.message_mut().header.index = link.index;
            request = request.set_link_index_filter(link.index);
        }
        let dump = request.execute().try_filter_map(async |message| Ok(message::present_of(&message)));
        self.ask(|| "list addresses".to_owned(), dump.try_collect()).await
    }

    /// Carries one change out, and says whether it was one: an address that is there already when it is to be
    /// added, or gone already when it is to be removed, is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn apply(&mut self, link: Link, change: AddressChange) -> Result<bool, AddressError> {
        let handle = self.handle()?;
        let (answer, nothing_to_do) = match change {
            AddressChange::LinkUp => {
                let up = LinkMessageBuilder::<LinkUnspec>::new().index(link.index).up().build();
                let action = || "bring the interface up".to_owned();
                (self.ask(action, handle.link().set(up).execute()).await, None)
            }
            AddressChange::Add(address) | AddressChange::Mark(address) => {
                let mut request = handle.address().add(link.index, address.ip(), address.net().prefix_len());
                *request.message_mut() = message::new_address(link.index, address);
                if matches!(change, AddressChange::Mark(_)) {
                    request = request.replace();
                }
                let action = || format!("add address {address}");
                (self.ask(action, request.execute()).await, Some(nix::libc::EEXIST))
            }
            AddressChange::Remove { address, index } => {
                let request = handle.address().del(message::address(index, address));
                let action = || format!("remove address {address}");
                (self.ask(action, request.execute()).await, Some(nix::libc::EADDRNOTAVAIL))
            }
        };
        match answer {
            Ok(()) => Ok(true),
            Err(error) if nothing_to_do.is_some() && error.errno() == nothing_to_do => Ok(false),
            Err(error) => Err(error),
        }
    }
}
