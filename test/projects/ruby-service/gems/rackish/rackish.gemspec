Gem::Specification.new do |gem|
  gem.name = "rackish"
  gem.version = "1.0.0"
  gem.summary = "Answers requests"
  gem.authors = ["Somebody"]
  gem.license = "MIT"
  gem.homepage = "https://own.example/rackish"
  gem.files = ["lib/rackish.rb", "exe/rackish"]
  gem.bindir = "exe"
  gem.executables = ["rackish"]
end
