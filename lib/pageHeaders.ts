/** What every root sends with the dashboard's files: they load nothing from elsewhere, and nobody frames them. */
export const PAGE_HEADERS = {
	"content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
	"x-content-type-options": "nosniff",
	"referrer-policy": "no-referrer",
	"cache-control": "no-cache",
};
