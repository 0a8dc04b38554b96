/**
 * The tenant under which tickq makes the calls to a tenant's webhooks: `~acme` for acme. So they have a backlog, slots and turns of their own:
 * a receiver that is away holds up neither its tenant's jobs nor another's calls. Nobody submits there but the queue itself.
 */

/** What X-Tenant-ID may also be where an operation reads or changes calls. No tenant's name begins like that. */
export const CALLS_TENANT = /^~[A-Za-z0-9_][A-Za-z0-9._:@-]{0,99}$/;

export const callsTenant = (tenant: string): string => (tenant.startsWith("~") ? tenant : `~${tenant}`);

/** Whose calls: `acme` for `~acme`. A tenant's own name is answered as it is. */
export const ownerOf = (tenant: string): string => (tenant.startsWith("~") ? tenant.slice(1) : tenant);
