exports.page = (text) => `<!doctype html>\n<title>${text}</title>\n`;
