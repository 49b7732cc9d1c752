int list_length(const void *list);
