// Opened from a folder, a page may not fetch another one: let the search list titles without excerpts there.
if (window.location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
