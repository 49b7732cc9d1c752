void tell(const char *who);

int main(int count, char **words)
{
	tell(count > 1 ? words[1] : "nobody");
	return 0;
}
